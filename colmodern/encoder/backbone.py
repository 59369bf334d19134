"""Loading a transformers backbone, quietly and whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from colmodern.errors import CheckpointError, ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_backbone(
    folder: Path, *, attention: str, trust_remote_code: bool
) -> tuple[torch.nn.Module, Any]:
    """The model without its head, in evaluation mode, and its tokenizer.

    attention: "sdpa" or "eager", as transformers names its implementations

    Raises CheckpointError when the files do not make a model or lack some of its weights.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    try:
        with _quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
            if hasattr(config, "reference_compile"):
                config.reference_compile = False  # ModernBERT compiles itself on some machines
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                attn_implementation=attention,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        cure = "" if trust_remote_code else _remote_code_cure(str(error))
        raise CheckpointError(
            f"{folder} does not load as a transformers model: {error}{cure}"
        ) from error
    # poolers make one vector of a text; a multi-vector encoder has no use for them
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} weights of its backbone, {missing[0]} first; "
            "they would be random: fetch the checkpoint again"
        )
    return model.eval(), tokenizer


def pick_device(device: str) -> str:
    """Resolve "auto" to "cuda" where there is a GPU, else "cpu".

    Raises ConfigError for a device that this machine lacks.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device={device!r}, but torch sees no GPU here; use device=cpu or auto")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device={device!r} is not usable here: {error}; use cpu or auto"
        ) from error
    return device


def pick_dtype(dtype: str) -> torch.dtype:
    """The torch dtype of that name; raises ConfigError for others than DTYPES."""
    if dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype!r} is not one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _remote_code_cure(message: str) -> str:
    if "trust_remote_code" not in message:
        return ""
    return " (read its code; if you trust it, pass trust_remote_code=True)"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and its notes on unused weights off the screen."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
