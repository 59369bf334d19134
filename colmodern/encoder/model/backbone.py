"""Loads a transformers backbone, without missing weights and without progress bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from colmodern.checks import shown
from colmodern.encoder.checkpoint.weights import Weights, read_weights, weights_of
from colmodern.encoder.model.modernbert import PackedModernBert
from colmodern.encoder.model.padded import PaddedBackbone
from colmodern.errors import CheckpointError, ColmodernError, ConfigError
from colmodern.notebook import import_tqdm

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

ATTENTIONS = ("auto", "packed", "sdpa", "eager")
_TOKENIZERS = ("tokenizer.json", "vocab.*", "*.model")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_backbone(
    folder: Path, *, dtype: str, attention: str, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model without its head, in evaluation mode, and its tokenizer.

    Args:
        folder: The backbone's folder.
        dtype: One of DTYPES; transformers keeps rotary frequencies in float32 in any case.
        attention: "sdpa" or "eager".
        trust_remote_code: Whether to run the checkpoint's own code.

    Raises:
        CheckpointError: The files are not a model, lack weights or have no tokenizer.
    """
    import_tqdm()
    from transformers import AutoConfig, AutoModel, AutoTokenizer, __version__

    if not _has_tokenizer(folder):
        raise CheckpointError(
            f"{folder} has no tokenizer ({', '.join(_TOKENIZERS)}); fetch the checkpoint again"
        )
    is_new = tuple(map(int, __version__.split(".")[:2])) >= (4, 56)
    dtype_option = "dtype" if is_new else "torch_dtype"

    try:
        with _quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
            if hasattr(config, "reference_compile"):
                config.reference_compile = False  # ModernBERT compiles itself on some machines
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                attn_implementation=attention,
                **{dtype_option: pick_dtype(dtype)},
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (MemoryError, ColmodernError):
        raise
    except Exception as error:  # tokenizers raises no other class than Exception itself
        cure = "" if trust_remote_code else _remote_code_cure(str(error))
        raise CheckpointError(
            f"{folder} does not load as a transformers model: {error}{cure}"
        ) from error
    # poolers make one vector of a text; a multi-vector encoder does not need them
    prefix = f"{model.base_model_prefix}."  # transformers 4 names keys as the file does
    keys = (key.removeprefix(prefix) for key in report["missing_keys"])
    missing = sorted(key for key in keys if not key.startswith("pooler."))
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} weights of its backbone, {missing[0]} first; "
            "they would be random: fetch the checkpoint again"
        )
    return model.eval(), tokenizer


def open_backbone(
    folder: Path, *, device: torch.device, dtype: str, attention: str, trust_remote_code: bool
) -> tuple[PackedModernBert | PaddedBackbone, PreTrainedTokenizerBase, PretrainedConfig]:
    """Load the backbone on its device, its tokenizer and its configuration.

    Args:
        folder: The backbone's folder.
        device: Where the backbone runs.
        dtype: One of DTYPES.
        attention: "packed", "sdpa" or "eager".
        trust_remote_code: Whether to run the checkpoint's own code.

    Raises:
        CheckpointError: The files are not a model, lack weights or have no tokenizer.
    """
    if attention == "packed":
        config, weights, tokenizer = load_packed(folder, dtype=dtype)
        packed = PackedModernBert(config, weights, device=device, dtype=pick_dtype(dtype))
        return packed, tokenizer, config
    model, tokenizer = load_backbone(
        folder, dtype=dtype, attention=attention, trust_remote_code=trust_remote_code
    )
    padded = PaddedBackbone(model.to(device), pad_id=int(tokenizer.pad_token_id or 0))
    return padded, tokenizer, model.config


def load_packed(
    folder: Path, *, dtype: str
) -> tuple[PretrainedConfig, Weights, PreTrainedTokenizerBase]:
    """Configuration, weights and tokenizer of a ModernBERT, for packed attention.

    Raises:
        CheckpointError: The files are not a model, lack weights or have no tokenizer.
    """
    import_tqdm()
    from transformers import AutoConfig, AutoTokenizer

    if _has_tokenizer(folder):
        with suppress(Exception), _quiet():
            config = AutoConfig.from_pretrained(folder)
            weights = read_weights(folder, config)
            if weights is not None:
                return config, weights, AutoTokenizer.from_pretrained(folder)
    # transformers may read these files all the same, or says what is wrong with them
    model, tokenizer = load_backbone(folder, dtype=dtype, attention="sdpa", trust_remote_code=False)
    return model.config, weights_of(model), tokenizer


def _has_tokenizer(folder: Path) -> bool:
    return any(path for pattern in _TOKENIZERS for path in folder.glob(pattern))


def pick_dtype(dtype: str) -> torch.dtype:
    """The torch dtype of a name in DTYPES.

    Raises:
        ConfigError: There is no such name.
    """
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ConfigError(f"dtype={shown(dtype)} is not one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def resolve_attention(attention: str, config: Mapping[str, Any]) -> str:
    """The name of an implementation; "auto" is packed where the backbone has it, else sdpa.

    Args:
        attention: One of ATTENTIONS.
        config: The backbone's config.json.

    Raises:
        ConfigError: There is no such name, or packed does not fit the backbone.
    """
    if not isinstance(attention, str) or attention not in ATTENTIONS:
        raise ConfigError(f"attention={shown(attention)} is not one of {', '.join(ATTENTIONS)}")
    fits = config.get("model_type") == "modernbert" and "auto_map" not in config
    angles = [rope for rope in (config.get("rope_parameters") or {}).values() if rope]
    fits &= all(rope.get("rope_type", "default") == "default" for rope in angles)
    if attention == "packed" and not fits:
        raise ConfigError(
            f"attention='packed' is for ModernBERT, and this is {config.get('model_type')!r}, scales "
            "its rotary angles or has code of its own; use auto or sdpa"
        )
    return ("packed" if fits else "sdpa") if attention == "auto" else attention


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
