"""The PyLate model that a training begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colmodern.config.train import TrainConfig, TrainedEncoderConfig
from colmodern.encoder.checkpoint import read_checkpoint
from colmodern.errors import ConfigError
from colmodern.training.losses import pylate

# our names of settings -> PyLate's arguments
_ARGUMENTS = {
    "projection_dim": "embedding_size",
    "query_length": "query_length",
    "document_length": "document_length",
    "query_marker": "query_prefix",
    "document_marker": "document_prefix",
    "query_expansion": "do_query_expansion",
    "attend_to_expansion": "attend_to_expansion_tokens",
    "skiplist": "skiplist_words",
}


@dataclass(frozen=True)
class Start:
    """A checkpoint on disk to begin with, and what the model card says of it."""

    folder: Path
    facts: dict[str, Any]
    prompts: dict[str, str]  # of the checkpoint: query, document


def find_start(config: TrainedEncoderConfig) -> Start:
    """Find the backbone or checkpoint of a config, fetched if need be.

    Raises CheckpointError when there is none, ConfigError when the config does not fit it.
    """
    found = read_checkpoint(
        config.model, revision=config.revision, with_code=config.trust_remote_code
    )
    if config.projection_dim is not None and found.kind != "plain":
        raise ConfigError(
            f"encoder.projection_dim={config.projection_dim}, but {config.model} is a {found.kind} "
            "checkpoint with its own projection; leave it out (encoder.projection_dim=null)"
        )
    if found.kind == "sentence-transformers":
        raise ConfigError(
            f"encoder.model={config.model} is a sentence-transformers multi-vector checkpoint, "
            "which PyLate 1.6 cannot train; begin with a PyLate, Stanford or plain one"
        )
    facts = {
        "model": config.model,
        "revision": found.revision,
        "kind": found.kind,
        "weights_sha256": found.weights_sha256,
    }
    prompts = {"query": found.settings.query_prompt, "document": found.settings.document_prompt}
    return Start(found.folder, facts, prompts)


def make_model(config: TrainConfig, start: Start) -> Any:
    """A pylate.models.ColBERT; a new projection is drawn by optimisation.seed.

    Its weights are float32 whatever the checkpoint stores: in float16 AdamW's squares of gradients
    vanish, and a step divides by nothing. optimisation.dtype is that of activations.
    """
    import transformers

    encoder = config.encoder
    transformers.set_seed(config.optimisation.seed)
    given = {ours: getattr(encoder, ours) for ours in _ARGUMENTS}
    if encoder.skiplist is not None:
        given["skiplist"] = list(encoder.skiplist)
    model = pylate("models").ColBERT(
        str(start.folder),
        device="cpu" if config.optimisation.device == "cpu" else None,
        prompts=prompts_of(config, start),
        trust_remote_code=encoder.trust_remote_code,
        local_files_only=True,
        model_kwargs={"attn_implementation": encoder.attention},
        **{_ARGUMENTS[ours]: value for ours, value in given.items() if value is not None},
    )
    return model.float()


def prompts_of(config: TrainConfig, start: Start) -> dict[str, str]:
    """Text before queries and documents: the config's, else the checkpoint's."""
    given = {"query": config.encoder.query_prompt, "document": config.encoder.document_prompt}
    return {role: start.prompts[role] if text is None else text for role, text in given.items()}
