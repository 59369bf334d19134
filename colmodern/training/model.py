"""The PyLate model that a training begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colmodern.config.train import TrainConfig, TrainedEncoderConfig
from colmodern.encoder.checkpoint.checkpoint import read_checkpoint
from colmodern.errors import ConfigError
from colmodern.training.losses import pylate

if TYPE_CHECKING:
    from pylate.models import ColBERT

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
class InitialCheckpoint:
    """The checkpoint on disk that a training begins with, and what the model card says about it."""

    folder: Path
    facts: dict[str, Any]
    prompts: dict[str, str]  # the checkpoint's text before a "query" and a "document"


def find_initial_checkpoint(config: TrainedEncoderConfig) -> InitialCheckpoint:
    """Locate the backbone or checkpoint of a config, and fetch it from the hub if need be.

    Raises:
        CheckpointError: There is no such checkpoint.
        ConfigError: The config does not fit the checkpoint.
    """
    checkpoint = read_checkpoint(
        config.model, revision=config.revision, with_code=config.trust_remote_code
    )
    if config.projection_dim is not None and checkpoint.kind != "plain":
        raise ConfigError(
            f"encoder.projection_dim={config.projection_dim}, but {config.model} is a "
            f"{checkpoint.kind} checkpoint with its own projection; leave it out "
            "(encoder.projection_dim=null)"
        )
    if checkpoint.kind == "sentence-transformers":
        raise ConfigError(
            f"encoder.model={config.model} is a sentence-transformers multi-vector checkpoint, "
            "which PyLate 1.6 cannot train; begin with a PyLate, Stanford or plain one"
        )
    facts = {
        "model": config.model,
        "revision": checkpoint.revision,
        "kind": checkpoint.kind,
        "weights_sha256": checkpoint.weights_sha256,
    }
    settings = checkpoint.settings
    prompts = {"query": settings.query_prompt, "document": settings.document_prompt}
    return InitialCheckpoint(checkpoint.folder, facts, prompts)


def make_model(config: TrainConfig, initial: InitialCheckpoint) -> ColBERT:
    """The PyLate model of a checkpoint; optimisation.seed draws a new projection.

    Its weights are float32 whatever the checkpoint stores: in float16 the squared gradients of
    AdamW underflow, and a step divides by zero. optimisation.dtype is the dtype of activations.
    """
    import transformers

    encoder = config.encoder
    transformers.set_seed(config.optimisation.seed)
    settings = {ours: getattr(encoder, ours) for ours in _ARGUMENTS}
    if encoder.skiplist is not None:
        settings["skiplist"] = list(encoder.skiplist)
    model = pylate("models").ColBERT(
        str(initial.folder),
        device="cpu" if config.optimisation.device == "cpu" else None,
        prompts=prompts_of(config, initial),
        trust_remote_code=encoder.trust_remote_code,
        local_files_only=True,
        model_kwargs={"attn_implementation": encoder.attention},
        **{_ARGUMENTS[ours]: value for ours, value in settings.items() if value is not None},
    )
    return model.float()


def prompts_of(config: TrainConfig, initial: InitialCheckpoint) -> dict[str, str]:
    """The text before queries and documents: the config's, else the checkpoint's."""
    ours = {"query": config.encoder.query_prompt, "document": config.encoder.document_prompt}
    return {role: initial.prompts[role] if text is None else text for role, text in ours.items()}
