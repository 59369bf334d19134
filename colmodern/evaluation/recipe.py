"""Differences between the recipes of runs, and which of them can move a score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from colmodern.nested import flatten

ABSENT = "—"
_SHOWN = 12  # letters of a digest in a table
_STAGE = " in stage "

Recipe = tuple[Mapping[str, object], Mapping[str, Any]]  # config and environment of a run


class Effect(str, Enum):
    """Effect of a different value on scores; in the order in which differences are listed."""

    SCORE = "decides scores"
    PERHAPS = "may move scores"  # the same work by other software, hardware or in other pieces
    NONE = "cannot move scores"


# field -> effect; shell patterns, and the first that matches counts. A test checks this table
# against every field of the config. A field that is not here counts as deciding scores.
EFFECTS: dict[str, Effect] = {
    "config.name": Effect.NONE,
    "config.output": Effect.NONE,
    "config.max_memory": Effect.NONE,  # it only refuses
    "config.cluster.address": Effect.NONE,
    "config.cluster.encoders": Effect.PERHAPS,  # GPUs of other kinds round in other ways
    "config.cluster.gpus_per_encoder": Effect.PERHAPS,
    "config.cluster.cpus_per_worker": Effect.PERHAPS,
    "config.cluster.builders": Effect.NONE,
    "config.cluster.scratch": Effect.NONE,
    "config.measures": Effect.NONE,  # each is what it is, whichever others are computed
    "config.dataset.name": Effect.NONE,  # dataset.fingerprint says whether it is another one
    "config.dataset.registry": Effect.NONE,
    "config.dataset.corpus": Effect.NONE,
    "config.dataset.queries": Effect.NONE,
    "config.dataset.qrels": Effect.NONE,
    "config.dataset.fields": Effect.SCORE,
    "config.dataset.split": Effect.SCORE,
    "config.dataset.drop_self_matches": Effect.SCORE,
    "config.dataset.drop_empty_documents": Effect.SCORE,
    "config.dataset.title_separator": Effect.SCORE,
    "config.dataset.max_queries": Effect.SCORE,
    "config.dataset.sample_seed": Effect.SCORE,
    "config.dataset.join_titles": Effect.SCORE,
    "config.dataset.query_template": Effect.SCORE,
    "config.encoder.model": Effect.SCORE,
    "config.encoder.revision": Effect.SCORE,
    "config.encoder.trust_remote_code": Effect.SCORE,
    "config.encoder.device": Effect.PERHAPS,
    "config.encoder.dtype": Effect.SCORE,
    "config.encoder.attention": Effect.PERHAPS,
    "config.encoder.devices": Effect.PERHAPS,
    "config.encoder.max_memory": Effect.PERHAPS,  # other batches round in other ways
    "config.encoder.overflow": Effect.SCORE,
    "config.encoder.overlap": Effect.SCORE,
    "config.encoder.pool_factor": Effect.SCORE,
    "config.encoder.protected_tokens": Effect.SCORE,
    "config.encoder.projection_dim": Effect.SCORE,
    "config.encoder.seed": Effect.SCORE,
    "config.encoder.query_length": Effect.SCORE,
    "config.encoder.document_length": Effect.SCORE,
    "config.encoder.query_marker": Effect.SCORE,
    "config.encoder.document_marker": Effect.SCORE,
    "config.encoder.query_prompt": Effect.SCORE,
    "config.encoder.document_prompt": Effect.SCORE,
    "config.encoder.query_expansion": Effect.SCORE,
    "config.encoder.expansion_length": Effect.SCORE,
    "config.encoder.expansion_token": Effect.SCORE,
    "config.encoder.attend_to_expansion": Effect.SCORE,
    "config.encoder.skiplist": Effect.SCORE,
    "config.encoder.skip_in_queries": Effect.SCORE,
    "config.encoder.strip_text": Effect.SCORE,
    "config.encoder.lowercase": Effect.SCORE,
    "config.storage.dtype": Effect.SCORE,
    "config.storage.shard_tokens": Effect.PERHAPS,  # other batches round in other ways
    "config.storage.spans": Effect.NONE,
    "config.index.kind": Effect.SCORE,
    "config.index.precision": Effect.SCORE,
    "config.index.depth": Effect.SCORE,
    "config.index.scorer": Effect.SCORE,
    "config.index.of": Effect.SCORE,
    "config.index.fusion": Effect.SCORE,
    "config.index.rrf_k": Effect.SCORE,
    "config.index.weights": Effect.SCORE,
    "config.index.tune_split": Effect.SCORE,
    "config.index.tune_measure": Effect.SCORE,
    "config.index.k1": Effect.SCORE,
    "config.index.b": Effect.SCORE,
    "config.index.stemmer": Effect.SCORE,
    "config.index.stop_words": Effect.SCORE,
    "config.index.token_pattern": Effect.SCORE,
    "config.index.nbits": Effect.SCORE,
    "config.index.shards": Effect.PERHAPS,  # each shard chooses candidates for its own size
    "config.index.own_codecs": Effect.NONE,  # it only allows
    "config.index.api_key_file": Effect.NONE,
    "config.index.timeout_s": Effect.NONE,  # an incomplete answer is refused
    "config.index.codec": Effect.SCORE,
    "config.index.n_centroids": Effect.SCORE,
    "config.index.seed": Effect.SCORE,
    "config.index.build_max_memory": Effect.SCORE,  # bounds the sample that the codec learns from
    "config.index.nprobe": Effect.SCORE,
    "config.index.n_candidates": Effect.SCORE,
    "config.index.rescore": Effect.SCORE,
    "config.index.compare_with_exact": Effect.NONE,
    "config.index.exact_max_memory": Effect.NONE,
    "config.index.device": Effect.PERHAPS,  # a GPU scans all documents and rounds differently
    "config.index.device_max_memory": Effect.NONE,
    "config.search.k": Effect.SCORE,
    "config.search.score": Effect.NONE,  # ranks are the same
    "config.search.passages": Effect.SCORE,
    "config.search.filter": Effect.SCORE,
    "config.search.filter_field": Effect.SCORE,
    "config.search.group_by": Effect.SCORE,
    "dataset.fingerprint": Effect.SCORE,
    "model.weights_sha256": Effect.SCORE,
    "model.kind": Effect.SCORE,
    "model.backbone": Effect.SCORE,
    "model.dim": Effect.SCORE,
    "colmodern": Effect.PERHAPS,
    "commit": Effect.PERHAPS,
    "python": Effect.PERHAPS,
    "packages.*": Effect.PERHAPS,
    "search.device": Effect.PERHAPS,
    "hardware.memory_gb": Effect.NONE,
    "hardware.*": Effect.PERHAPS,
}
# the settings of a search that finds candidates are those of its kind
EFFECTS |= {
    field.replace("config.index.", "config.index.candidates."): effect
    for field, effect in EFFECTS.items()
    if field.startswith("config.index.")
}
EFFECTS["config.index.candidates.candidates.*"] = Effect.SCORE

# fields that other fields imply, and paths
_LEFT_OUT = (
    "command",
    "started",
    "embeddings.*",
    "index",
    "first_stages*",
    "inputs.*",
    "stages.*",
    "dataset.description",
    "dataset.source",
    "dataset.name",
    "model.model",
    "model.path",
    "model.revision",
    "model.fingerprint",
    "model.settings.*",
    "model.projection_dim",
    "model.seed",
    "model.device",
    "model.dtype",
    "model.attention",
)


class FieldChange(NamedTuple):
    """A field that is not the same in all runs: its value in each, in the order of the runs."""

    field: str
    values: tuple[str, ...]
    effect: Effect


def effect_of(field: str) -> Effect:
    """Effect of a different value of this field on scores."""
    return next(
        (effect for pattern, effect in EFFECTS.items() if fnmatchcase(field, pattern)),
        Effect.SCORE,
    )


def diff(recipes: Sequence[Recipe]) -> list[FieldChange]:
    """Every field in which runs differ, those that can move a score first.

    A stage that an earlier run finished has that run's environment; where such stages differ, the
    field names them: "packages.torch (encode documents, encode queries)".
    """
    recipe_fields = [
        {
            **flat({"config": config}),
            **{key: value for key, value in flat(environment).items() if not _is_left_out(key)},
            **_of_stages(environment, recipes),
        }
        for config, environment in recipes
    ]
    fields = dict.fromkeys(field for values in recipe_fields for field in values)
    changes = [
        FieldChange(
            field, tuple(values.get(field, ABSENT) for values in recipe_fields), effect_of(field)
        )
        for field in fields
        if len({values.get(field, ABSENT) for values in recipe_fields}) > 1
    ]
    return in_order(_joined(changes))


def in_order(changes: Iterable[FieldChange]) -> list[FieldChange]:
    """Changes in the order of their effects: those that can move a score first."""
    order = list(Effect)
    return sorted(changes, key=lambda change: order.index(change.effect))


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested values as "search.k" -> text, in their order; empty mappings are left out."""
    return {path: _text(value) for path, value in flatten(values).items() if value != {}}


def shown(value: str) -> str:
    """A value as shown in a table: digests are cut."""
    is_digest = len(value) >= 40 and all(letter in "0123456789abcdef+" for letter in value)
    return value[:_SHOWN] + "…" if is_digest else value


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _is_left_out(field: str) -> bool:
    return any(fnmatchcase(field, pattern) for pattern in _LEFT_OUT)


def _of_stages(environment: Mapping[str, Any], recipes: Sequence[Recipe]) -> dict[str, str]:
    """The environments of the stages that all runs have, as "packages.torch in stage search"."""
    every = [set(other.get("stages", {})) for _, other in recipes]
    common = set.intersection(*every) if every else set()
    return {
        f"{field}{_STAGE}{stage}": value
        for stage, made_in in environment.get("stages", {}).items()
        if stage in common
        for field, value in flat(made_in).items()
        if not _is_left_out(field)
    }


def _joined(changes: Sequence[FieldChange]) -> list[FieldChange]:
    """Stages with the same values in one row; none where the run's own row says the same."""
    stages: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for change in changes:
        field, _, stage = change.field.partition(_STAGE)
        stages.setdefault((field, change.values), []).append(stage)
    return [
        FieldChange(
            field if "" in names else f"{field} ({', '.join(names)})", values, effect_of(field)
        )
        for (field, values), names in stages.items()
    ]
