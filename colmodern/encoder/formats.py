"""The four kinds of checkpoint: where each keeps its projection and its settings.

Sources: PyLate 1.6 ``ColBERT.__init__``, colbert-ai 0.2.22 ``ColBERTConfig``, and
sentence-transformers 6.2 ``MultiVectorEncoder``, whose defaults are repeated here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from colmodern.encoder.locate import read_json
from colmodern.encoder.modules import backbone_folder, folders_of, read_modules
from colmodern.encoder.projection import Layer, read_dense, read_weights
from colmodern.encoder.settings import PUNCTUATION, EncoderSettings
from colmodern.errors import CheckpointError

logger = logging.getLogger(__name__)

Reading = tuple[tuple[Layer, ...], EncoderSettings]

_APPLIED = {"Transformer", "Dense", "MultiVectorMask", "Normalize"}
_PYLATE_READS = {"Transformer", "Dense", "Normalize"}  # it makes unit rows by itself
_ENDLESS = 8192  # taken as the length limit where nothing sets one


def read_pylate(folder: Path, config: dict[str, Any]) -> Reading:
    """modules.json with Dense folders; settings in config_sentence_transformers.json."""
    about = read_json(folder / "config_sentence_transformers.json", missing={})
    prompts = _prompts(about)
    default_prompt = prompts.get(about.get("default_prompt_name") or "") or ""
    expands = _given(about, "do_query_expansion", True)
    skiplist = _given(about, "skiplist_words", PUNCTUATION)
    settings = EncoderSettings(
        query_length=_given(about, "query_length", 32),
        document_length=_given(about, "document_length", 180),
        query_marker=_given(about, "query_prefix", "[Q] ") or None,
        document_marker=_given(about, "document_prefix", "[D] ") or None,
        query_prompt=prompts.get("query") or default_prompt,
        document_prompt=_document_prompt(prompts) or default_prompt,
        query_expansion=expands,
        attend_to_expansion=expands and bool(about.get("attend_to_expansion_tokens")),
        skiplist=tuple(skiplist),
        lowercase=_lowercases(folder),
    )
    if ignored := [m.kind for m in read_modules(folder) if m.kind not in _PYLATE_READS]:
        logger.warning("PyLate does not apply these modules, nor do we: %s", ", ".join(ignored))
    layers = [
        read_dense(path, read_json(path / "config.json")) for path in folders_of(folder, "Dense")
    ]
    return tuple(layers), settings


def read_stanford(folder: Path, config: dict[str, Any]) -> Reading:
    """linear.weight beside the backbone's weights; settings in artifact.metadata."""
    about = read_json(folder / "artifact.metadata", missing={})
    weights = read_weights(folder)
    if "linear.weight" not in weights:
        raise CheckpointError(f"{folder} has no tensor linear.weight; it is no ColBERT checkpoint")
    settings = EncoderSettings(
        query_length=_given(about, "query_maxlen", 32),
        document_length=_given(about, "doc_maxlen", 220),
        query_marker=_given(about, "query_token_id", "[unused0]"),
        document_marker=_given(about, "doc_token_id", "[unused1]"),
        query_expansion=True,
        attend_to_expansion=bool(about.get("attend_to_mask_tokens")),
        skiplist=PUNCTUATION if _given(about, "mask_punctuation", True) else (),
        strip_text=False,
    )
    return (Layer(weights["linear.weight"]),), settings


def read_sentence_transformers(folder: Path, config: dict[str, Any]) -> Reading:
    """modules.json of a MultiVectorEncoder: lengths beside the backbone, skiplist in its mask."""
    about = read_json(folder / "config_sentence_transformers.json", missing={})
    prompts = _prompts(about)
    if unknown := {module.kind for module in read_modules(folder)} - _APPLIED:
        raise CheckpointError(
            f"{folder} has modules that colmodern does not know: {', '.join(sorted(unknown))}; "
            "its embeddings would differ without them"
        )
    text = read_json(backbone_folder(folder) / "sentence_bert_config.json", missing={})
    masks = folders_of(folder, "MultiVectorMask")
    mask = read_json(masks[0] / "config.json", missing={}) if masks else {}
    if mask.get("keep_only_token_ids"):
        raise CheckpointError(f"{folder} keeps only image tokens; colmodern encodes text")
    tokenizer = read_json(backbone_folder(folder) / "tokenizer_config.json", missing={})
    longest = text.get("max_seq_length") or tokenizer.get("model_max_length") or _ENDLESS
    longest = min(int(longest), longest_input(config) or _ENDLESS)
    expansion = text.get("query_expansion") or {}
    is_fixed = expansion.get("strategy") == "fixed"
    ceiling = text.get("query_length") or longest
    tasks = mask.get("skiplist_tasks") or ["document"]
    settings = EncoderSettings(
        query_length=expansion["length"] if is_fixed else ceiling,
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


def read_plain(folder: Path, config: dict[str, Any]) -> Reading:
    """A backbone alone: no markers, no expansion, no skiplist, as long as it can go."""
    longest = longest_input(config) or _ENDLESS
    return (), EncoderSettings(
        query_length=min(512, longest), document_length=longest, lowercase=_lowercases(folder)
    )


def longest_input(config: dict[str, Any]) -> int | None:
    """How many tokens the backbone takes, None when its positions have no end."""
    longest = config.get("max_position_embeddings")
    if longest is None:
        return None
    # the RoBERTa family counts positions from pad_token_id + 1
    is_roberta = (
        "roberta" in str(config.get("model_type")) or config.get("model_type") == "camembert"
    )
    return int(longest) - (int(config.get("pad_token_id") or 0) + 1 if is_roberta else 0)


def _prompts(about: dict[str, Any]) -> dict[str, str]:
    prompts = about.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise CheckpointError(
            f"prompts is {prompts!r} in the checkpoint; it must map names to text"
        )
    return prompts


def _document_prompt(prompts: dict[str, str]) -> str:
    names = ("document", "passage", "corpus")
    return next((prompts[name] for name in names if prompts.get(name)), "")


def _lowercases(folder: Path) -> bool:
    text = read_json(backbone_folder(folder) / "sentence_bert_config.json", missing={})
    return bool(text.get("do_lower_case"))


def _given(about: dict[str, Any], key: str, default: Any) -> Any:
    """The value under key, where null means that the file does not say."""
    value = about.get(key)
    return default if value is None else value
