"""Run folders against each other: the same queries, paired tests, and what their recipes change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from colmodern.checks import shown
from colmodern.errors import ConfigError, InputError, StorageError
from colmodern.evaluation.comparison import Comparison, changes, differences
from colmodern.evaluation.measures import (
    DEFAULT_MEASURES,
    Evaluation,
    cutoff_of,
    evaluate,
    parse_measure,
)
from colmodern.evaluation.recipe import ABSENT, FieldChange, diff, in_order
from colmodern.pipeline.compare.stored_run import StoredRun, System
from colmodern.pipeline.stored_files import CURE, METRICS
from colmodern.types import Qrels

_CHANGES = 10
_ROUNDING = 1e-6

PerQuery = dict[str, dict[str, dict[str, float]]]  # data set -> query_id -> measure -> value


def compare_runs(
    systems: Sequence[System],
    *,
    measures: Sequence[str] = (),
    common: bool = False,
    alpha: float = 0.05,
    seed: int = 0,
) -> Comparison:
    """Compare runs with the first one, query by query.

    Args:
        systems: The baseline, then the systems that are compared with it.
        measures: Measures as ir_measures names them; default: those that all runs were
            evaluated with.
        common: Whether to compare what is the same in all, where data sets, queries or
            judgments differ.
        alpha: Level below which a Holm-adjusted p-value is a difference.
        seed: Seed of the permutation tests.

    Raises:
        InputError: There are fewer than two runs, they cannot be compared, or a measure looks
            further down than they searched.
        StorageError: A run is not what was measured.
    """
    if len(systems) < 2:
        raise InputError(f"{len(systems)} run given; give a baseline and at least one other")
    if not 0 < alpha < 1:
        raise InputError(f"alpha={alpha}; give a share between 0 and 1, as 0.05")
    notes: list[str] = []
    runs = _by_dataset(systems, notes, common=common)
    names = _measures(runs, measures)
    notes += [note for same in runs.values() for run in same for note in notes_on(run, names)]
    judged = {data: _judged_alike(same, notes, common=common) for data, same in runs.items()}
    values = [
        {data: _values(same[i], judged[data], names) for data, same in runs.items()}
        for i in range(len(systems))
    ]
    baseline, others = values[0], dict(zip((s.name for s in systems[1:]), values[1:], strict=True))
    return Comparison(
        baseline=systems[0].name,
        runs=list(others),
        datasets=list(runs),
        measures=names,
        alpha=alpha,
        seed=seed,
        differences=differences(baseline, others, names, seed=seed),
        changes=changes(baseline, others, names[0], most=_CHANGES),
        queries={data: _texts(same) for data, same in runs.items()},
        recipe=_recipe(runs),
        values={system.name: of for system, of in zip(systems, values, strict=True)},
        notes=notes,
        without_recipe=[s.name for s in systems if any(run.is_trec for run in s.runs.values())],
    )


def _by_dataset(
    systems: Sequence[System], notes: list[str], *, common: bool
) -> dict[str, list[StoredRun]]:
    """Data set -> its run of each system. Single runs belong together, whatever their set's name."""
    if all(len(system.runs) == 1 for system in systems):
        same = [next(iter(system.runs.values())) for system in systems]
        return {same[0].dataset: same}
    shared = [data for data in systems[0].runs if all(data in system.runs for system in systems)]
    missing = {
        system.name: sorted({data for other in systems for data in other.runs} - set(system.runs))
        for system in systems
    }
    lacks = "; ".join(f"{name} has no {', '.join(sets)}" for name, sets in missing.items() if sets)
    if not shared:
        raise InputError(f"there is no data set that all have a run of: {lacks}")
    if lacks and not common:
        raise InputError(
            f"not all have the same data sets: {lacks}; compare the others with --common"
        )
    if lacks:
        notes.append(f"Left out, because not all have it: {lacks}.")
    return {data: [system.runs[data] for system in systems] for data in shared}


def _measures(runs: Mapping[str, Sequence[StoredRun]], requested: Sequence[str]) -> list[str]:
    every = [run for same in runs.values() for run in same]
    stored = [run for run in every if not run.is_trec]
    names = [str(parse_measure(name)) for name in requested]
    if not requested and not stored:
        names = list(DEFAULT_MEASURES)
    elif not requested:
        names = [
            name
            for name in stored[0].metrics["measures"]
            if all(name in run.metrics["measures"] for run in stored)
        ]
        if not names:
            raise InputError("the runs have no measure in common; choose some with --measure")
        for name in names:
            _check_measure(name, stored[0])
    for name in names:
        for run in stored:
            cutoff, k = cutoff_of(name), run.config["search"]["k"]
            if cutoff is not None and cutoff > k:
                raise InputError(
                    f"{name} looks at {cutoff} documents per query, but {run.folder} searched for "
                    f"search.k={k}; choose another measure, or evaluate again with a larger k"
                )
    return list(dict.fromkeys(names))


def notes_on(run: StoredRun, measures: Sequence[str]) -> list[str]:
    """What a TREC run lacks for its measures, or has beyond its judgments; none for a run folder."""
    if not run.is_trec:
        return []
    notes = []
    lacking = [query_id for query_id in run.qrels if not run.run.get(query_id)]
    if lacking:
        notes.append(
            f"{run.folder}: no results for {len(lacking):,} of {len(run.qrels):,} judged queries, the "
            f"first is {shown(lacking[0])}; they count as 0."
        )
    if unjudged := sum(query_id not in run.qrels for query_id in run.run):
        notes.append(
            f"{run.folder}: {unjudged:,} of its {len(run.run):,} queries are not judged, and left out."
        )
    depth = max(map(len, run.run.values()), default=0)
    deeper = [name for name in measures if (cutoff_of(name) or 0) > depth]
    if deeper:
        notes.append(
            f"{run.folder}: at most {depth:,} results of a query, fewer than {', '.join(deeper)} looks at."
        )
    return notes


def values_of(run: StoredRun, measures: Sequence[str]) -> Evaluation:
    """Measures of a run against its own judgments.

    Raises:
        ConfigError: A measure is unknown.
        InputError: None of a TREC run's queries is judged.
        StorageError: A run folder cannot be measured.
    """
    try:
        return evaluate(run.run, run.qrels, measures)
    except ConfigError:
        raise
    except InputError as error:
        if run.is_trec:
            raise InputError(f"{run.folder}: {error}") from error
        raise StorageError(f"{run.folder}: {error}; {CURE}") from error


def _texts(same: Sequence[StoredRun]) -> Mapping[str, str]:
    return next((run.texts for run in same if run.texts), {})


def _check_measure(name: str, run: StoredRun) -> None:
    """Raise StorageError where a run's file has a measure that nobody can have computed."""
    try:
        known = str(parse_measure(name))
    except ConfigError as error:
        raise StorageError(f"{run.folder / METRICS}: {error}; {CURE}") from error
    if known != name:
        raise StorageError(
            f"{run.folder / METRICS}: measures: {shown(name)} is written {known}; {CURE}"
        )


def _judged_alike(same: Sequence[StoredRun], notes: list[str], *, common: bool) -> Qrels:
    """The judgments that all runs of a data set share."""
    first = same[0]
    shared = {
        query_id: grades
        for query_id, grades in first.qrels.items()
        if all(_is_same_query(query_id, first, run) for run in same[1:])
    }
    other = next((run for run in same[1:] if _differs(first, run)), None)
    if other is None:
        return shared
    if not common or not shared:
        raise InputError(_mismatch_message(first, other, shared))
    notes.append(
        f"{first.dataset}: compared on the {len(shared)} queries that all runs have with the same "
        f"text and judgments, of up to {max(len(run.qrels) for run in same)}."
    )
    return shared


def _is_same_query(query_id: str, first: StoredRun, other: StoredRun) -> bool:
    return other.qrels.get(query_id) == first.qrels[query_id] and (
        not first.texts or not other.texts or first.texts[query_id] == other.texts[query_id]
    )


def _differs(first: StoredRun, other: StoredRun) -> bool:
    return len(first.qrels) != len(other.qrels) or not all(
        _is_same_query(query_id, first, other) for query_id in first.qrels
    )


def _mismatch_message(first: StoredRun, other: StoredRun, shared: Qrels) -> str:
    ids = set(first.qrels) & set(other.qrels)
    if first.dataset != other.dataset and not shared:
        return (
            f"{first.folder} is of {first.dataset} and {other.folder} of {other.dataset}; compare runs "
            "of one data set"
        )
    cure = "compare those with --common, or" if shared else "to compare them,"
    return (
        f"{first.folder} and {other.folder} do not judge the same queries of {first.dataset}: "
        f"{len(first.qrels)} against {len(other.qrels)}, {len(ids)} with the same id, "
        f"{len(shared)} of them with the same text and judgments in all runs; {cure} evaluate "
        "with the same split, max_queries and sample_seed"
    )


def _values(run: StoredRun, qrels: Qrels, measures: Sequence[str]) -> dict[str, dict[str, float]]:
    """Values of the shared queries, after a look at whether the run is what its folder says."""
    known = [name for name in run.metrics["measures"] if name in measures]
    whole = values_of(run, list(dict.fromkeys([*measures, *known])))
    for name in known:
        recorded, computed = run.metrics["measures"][name], whole.mean[name]
        if abs(recorded - computed) > _ROUNDING:
            raise StorageError(
                f"{run.folder}: metrics.json says {name} = {recorded:.6f}, run.trec and qrels.trec come "
                f"to {computed:.6f}; they were changed since, run the evaluation again"
            )
    return {query_id: whole.per_query[query_id] for query_id in qrels}


def _recipe(runs: Mapping[str, Sequence[StoredRun]]) -> list[FieldChange]:
    """Differences of the recipes; a field that differs on some data sets only names these.

    The value of a TREC run, whose recipe is unknown, is absent.
    """
    datasets_of: dict[FieldChange, list[str]] = {}
    for data, same in runs.items():
        for change in diff([(run.config, run.environment) for run in same if not run.is_trec]):
            known = iter(change.values)
            values = tuple(ABSENT if run.is_trec else next(known) for run in same)
            datasets_of.setdefault(change._replace(values=values), []).append(data)
    return in_order(
        change
        if len(sets) == len(runs)
        else change._replace(field=f"{change.field} [{', '.join(sets)}]")
        for change, sets in datasets_of.items()
    )
