"""What ``colmodern info`` says of configs, and of folders and files of many results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from colmodern.config.load import SETS
from colmodern.config.models import EvalConfig
from colmodern.config.read import read_values
from colmodern.errors import DataError, StorageError
from colmodern.files import parse_json
from colmodern.pipeline.open.artifacts import read_run_file
from colmodern.pipeline.run_folder import ENVIRONMENT, SWEEP_CONFIG, is_run

_CURE = "evaluate again"


def describe_config(path: Path) -> dict[str, object]:
    """What a config asks for: an evaluation, a suite, a sweep, a training or mining.

    Raises ConfigError for one that is wrong.
    """
    values = read_values(path)
    if "sweep" in values:
        from colmodern.config.sweep import load_sweeps

        sweeps = load_sweeps([path])
        axes = sweeps[0].sweep.model_dump(mode="json", exclude_none=True)
        evaluations = [{**_evaluation(config), "sweep": axes} for config in sweeps]
        return {"config": str(path), "of": "a sweep", **_one_or_many(evaluations)}
    if "objective" in values or "data" in values:
        from colmodern.config.train import load_train_config

        training = load_train_config(path)
        return {
            "config": str(path),
            "of": "a training",
            "name": training.name,
            "model": training.encoder.model,
            "objective": training.objective.kind,
            "data": [source.path for source in training.data],
            "output": training.output,
        }
    if {"pairs", "negatives", "teacher"} & values.keys():
        from colmodern.config.mine import load_mine_config

        mining = load_mine_config(path)
        source = mining.pairs or (mining.dataset.name if mining.dataset else None)
        return {
            "config": str(path),
            "of": "mining of hard negatives",
            "model": mining.encoder.model,
            "from": source,
            "output": mining.output,
        }
    from colmodern.config.suite import load_suite

    configs = [_evaluation(member.config) for member in load_suite([path])]
    kind = "a suite of evaluations" if SETS in values else "an evaluation"
    return {"config": str(path), "of": kind, **_one_or_many(configs)}


def describe_configs(folder: Path) -> dict[str, object] | None:
    """The evaluations of a folder of configs; None where it has none.

    Raises ConfigError for one that is wrong.
    """
    if not any(folder.glob("*.yaml")):
        return None
    from colmodern.config.suite import load_suite

    configs = [_evaluation(member.config) for member in load_suite([folder])]
    return {"configs": str(folder), "of": "evaluations", **_one_or_many(configs)}


def describe_runs(folder: Path) -> dict[str, object] | None:
    """The runs and sweeps in a folder, and what they came to; None where it has none.

    What is wrong with a damaged run stands in the place of its results.
    """
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    runs: dict[str, dict[str, object]] = {}
    for path in inside:
        if is_run(path):
            try:
                runs[path.name] = _run(path)
            except StorageError as error:
                runs[path.name] = {"error": str(error)}
    sweeps = [path.name for path in inside if (path / SWEEP_CONFIG).is_file()]
    if not runs and not sweeps:
        return None
    return {"runs_folder": str(folder), "n_runs": len(runs), "runs": runs, "sweeps": sweeps}


def describe_sweep(folder: Path) -> dict[str, object]:
    """A sweep's points, and the folder's files.

    Raises StorageError when it is damaged.
    """
    record = read_run_file(folder, "sweep.json")
    points = record.get("points")
    n_points = len(points) if isinstance(points, list) else 0
    rest = {key: value for key, value in record.items() if not isinstance(value, (list, dict))}
    return {"sweep": str(folder), "points": n_points, **rest}


def describe_suite(path: Path) -> dict[str, object] | None:
    """What the evaluations of a suite came to, from the file that it wrote; None for another file.

    Raises DataError for one that is not JSON.
    """
    outcomes = parse_json(path, DataError, cure="give a file that colmodern wrote, or a collection")
    needed = {"row", "column", "measures", "error"}
    if not isinstance(outcomes, list) or not all(
        isinstance(row, dict) and row.keys() >= needed for row in outcomes
    ):
        return None
    results = {f"{row['column']} on {row['row']}": row["measures"] or "failed" for row in outcomes}
    failed = sum(row["error"] is not None for row in outcomes)
    return {"suite": str(path), "evaluations": len(outcomes), "failed": failed, "measures": results}


def _run(folder: Path) -> dict[str, object]:
    environment = read_run_file(folder, ENVIRONMENT)
    metrics = read_run_file(folder, "metrics.json")
    try:
        return {
            "model": environment["model"]["model"],
            "dataset": environment["dataset"]["name"],
            "measures": metrics["measures"],
        }
    except (KeyError, TypeError) as error:
        raise StorageError(f"{folder} is damaged: {error!r} is missing; {_CURE}") from error


def _evaluation(config: EvalConfig) -> dict[str, object]:
    return {
        "name": config.name,
        "model": config.encoder.model if config.needs_model else None,
        "dataset": config.dataset.name,
        "index": config.index.kind,
        "k": config.search.k,
        "measures": list(config.measures),
        "run": f"{config.output}/{config.name}",
    }


def _one_or_many(evaluations: list[dict[str, object]]) -> Mapping[str, object]:
    return (
        evaluations[0]
        if len(evaluations) == 1
        else {"evaluations": len(evaluations), "each": evaluations}
    )
