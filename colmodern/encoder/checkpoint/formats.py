"""Readers of the four kinds of checkpoint, each with its own files of projection and settings.

Sources: PyLate 1.6 ``ColBERT.__init__``, colbert-ai 0.2.22 ``ColBERTConfig``, and
sentence-transformers 6.2 ``MultiVectorEncoder``, whose defaults are repeated here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypeVar

from colmodern.encoder.checkpoint.locate import read_fields, read_json
from colmodern.encoder.checkpoint.modules import backbone_folder, folders_of, read_modules
from colmodern.encoder.checkpoint.projection import Layer, read_dense, read_weights
from colmodern.encoder.text.settings import PUNCTUATION, EncoderSettings
from colmodern.errors import CheckpointError

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

Reading = tuple[tuple[Layer, ...], EncoderSettings]

_APPLIED = {"Transformer", "Dense", "MultiVectorMask", "Normalize"}
_PYLATE_READS = {"Transformer", "Dense", "Normalize"}  # PyLate normalizes rows by itself
# types of the fields that are used before EncoderSettings checks the settings made of them
_STORED: dict[str, type] = {"prompts": dict, "default_prompt_name": str, "skiplist_words": list}
_TEXT: dict[str, type] = {"query_expansion": dict, "max_seq_length": int}
_MASK: dict[str, type] = {"skiplist_words": list, "skiplist_tasks": list}
CONFIG: dict[str, type] = {
    "max_position_embeddings": int,
    "pad_token_id": int,
    "architectures": list,
}
_DEFAULT_LENGTH = 8192  # length limit where the checkpoint sets none


def read_pylate(folder: Path, config: dict[str, object]) -> Reading:
    """Read modules.json with Dense folders, and settings in config_sentence_transformers.json."""
    stored = read_fields(folder / "config_sentence_transformers.json", _STORED, missing={})
    prompts: dict[str, Any] = stored.get("prompts") or {}
    default_prompt = prompts.get(stored.get("default_prompt_name") or "") or ""
    expands = _get(stored, "do_query_expansion", True)
    skiplist = _get(stored, "skiplist_words", PUNCTUATION)
    settings = EncoderSettings(
        query_length=_get(stored, "query_length", 32),
        document_length=_get(stored, "document_length", 180),
        query_marker=_get(stored, "query_prefix", "[Q] ") or None,
        document_marker=_get(stored, "document_prefix", "[D] ") or None,
        query_prompt=prompts.get("query") or default_prompt,
        document_prompt=_document_prompt(prompts) or default_prompt,
        query_expansion=expands,
        attend_to_expansion=expands and bool(stored.get("attend_to_expansion_tokens")),
        skiplist=tuple(skiplist),
        lowercase=_lowercases(folder),
    )
    if ignored := [m.kind for m in read_modules(folder) if m.kind not in _PYLATE_READS]:
        logger.warning("PyLate does not apply these modules, nor do we: %s", ", ".join(ignored))
    layers = [
        read_dense(path, read_json(path / "config.json")) for path in folders_of(folder, "Dense")
    ]
    return tuple(layers), settings


def read_stanford(folder: Path, config: dict[str, object]) -> Reading:
    """Read linear.weight beside the backbone's weights, and settings in artifact.metadata."""
    stored = read_json(folder / "artifact.metadata", missing={})
    weights = read_weights(folder)
    if "linear.weight" not in weights:
        raise CheckpointError(
            f"{folder} has no tensor linear.weight; it is not a ColBERT checkpoint"
        )
    settings = EncoderSettings(
        query_length=_get(stored, "query_maxlen", 32),
        document_length=_get(stored, "doc_maxlen", 220),
        query_marker=_get(stored, "query_token_id", "[unused0]"),
        document_marker=_get(stored, "doc_token_id", "[unused1]"),
        query_expansion=True,
        attend_to_expansion=bool(stored.get("attend_to_mask_tokens")),
        skiplist=PUNCTUATION if _get(stored, "mask_punctuation", True) else (),
        strip_text=False,
    )
    return (Layer(weights["linear.weight"]),), settings


def read_sentence_transformers(folder: Path, config: dict[str, object]) -> Reading:
    """Read modules.json of a MultiVectorEncoder, with lengths beside the backbone and a mask."""
    stored = read_fields(folder / "config_sentence_transformers.json", _STORED, missing={})
    prompts: dict[str, Any] = stored.get("prompts") or {}
    if unknown := {module.kind for module in read_modules(folder)} - _APPLIED:
        raise CheckpointError(
            f"{folder} has modules that colmodern does not know: {', '.join(sorted(unknown))}; "
            "its embeddings would differ without them"
        )
    backbone = backbone_folder(folder)
    text = read_fields(backbone / "sentence_bert_config.json", _TEXT, missing={})
    masks = folders_of(folder, "MultiVectorMask")
    mask = read_fields(masks[0] / "config.json", _MASK, missing={}) if masks else {}
    if mask.get("keep_only_token_ids"):
        raise CheckpointError(f"{folder} keeps only image tokens; colmodern encodes text")
    lengths: dict[str, type] = {"model_max_length": float}
    tokenizer = read_fields(backbone / "tokenizer_config.json", lengths, missing={})
    longest = text.get("max_seq_length") or tokenizer.get("model_max_length") or _DEFAULT_LENGTH
    longest = min(int(longest), longest_input(config) or _DEFAULT_LENGTH)
    expansion = text.get("query_expansion") or {}
    is_fixed = expansion.get("strategy") == "fixed"
    ceiling = text.get("query_length") or longest
    tasks = mask.get("skiplist_tasks") or ["document"]
    settings = EncoderSettings(
        query_length=expansion.get("length", 0) if is_fixed else ceiling,
        document_length=text.get("document_length") or longest,
        query_prompt=prompts.get("query") or "",
        document_prompt=_document_prompt(prompts),
        query_expansion=bool(expansion),
        expansion_length=expansion.get("length") if expansion and not is_fixed else None,
        expansion_token=expansion.get("token"),
        attend_to_expansion=bool(expansion.get("attend")),
        skiplist=tuple(mask.get("skiplist_words") or ()),
        skip_in_queries="query" in tasks,
        strip_text=False,
        lowercase=_lowercases(folder),
    )
    layers = []
    for path in folders_of(folder, "Dense"):
        dense = read_json(path / "config.json")
        if dense.get("module_input_name", "token_embeddings") == "token_embeddings":
            layers.append(read_dense(path, dense))
    return tuple(layers), settings


def read_plain(folder: Path, config: dict[str, object]) -> Reading:
    """Read a plain backbone: no markers, expansion or skiplist, and its own length limit."""
    longest = longest_input(config) or _DEFAULT_LENGTH
    return (), EncoderSettings(
        query_length=min(512, longest), document_length=longest, lowercase=_lowercases(folder)
    )


def longest_input(config: dict[str, Any]) -> int | None:
    """The number of tokens that the backbone takes, None where its positions are unlimited."""
    longest = config.get("max_position_embeddings")
    if longest is None:
        return None
    # the RoBERTa family counts positions from pad_token_id + 1
    is_roberta = (
        "roberta" in str(config.get("model_type")) or config.get("model_type") == "camembert"
    )
    return int(longest) - (int(config.get("pad_token_id") or 0) + 1 if is_roberta else 0)


def _document_prompt(prompts: dict[str, str]) -> str:
    names = ("document", "passage", "corpus")
    return next((prompts[name] for name in names if prompts.get(name)), "")


def _lowercases(folder: Path) -> bool:
    text = read_json(backbone_folder(folder) / "sentence_bert_config.json", missing={})
    return bool(text.get("do_lower_case"))


def _get(stored: dict[str, Any], key: str, default: Value) -> Value:
    """The value under a key; null stands for the default."""
    value = stored.get(key)
    return default if value is None else value
