"""The model card: README.md of a checkpoint, written from the facts of its training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from colmodern.config.train import TrainConfig
from colmodern.encoder.checkpoint.checkpoint import read_checkpoint
from colmodern.files import write_text
from colmodern.training.examples import is_file_name

_VERSIONS = ("pylate", "sentence-transformers", "transformers", "torch", "datasets")


def write_model_card(
    folder: Path, config: TrainConfig, result: dict[str, object], environment: dict[str, object]
) -> None:
    """Write README.md into the folder of a checkpoint.

    Args:
        folder: The checkpoint's folder.
        config: The training's config.
        result: The content of the run's training.json.
        environment: The content of the run's environment.json.
    """
    write_text(folder / "README.md", model_card(folder, config, result, environment))


def model_card(
    folder: Path, config: TrainConfig, result: dict[str, Any], environment: dict[str, object]
) -> str:
    """Text of a model card: front matter for the hub, then what the model is and its training.

    Args:
        folder: The checkpoint's folder.
        config: The training's config.
        result: The content of the run's training.json.
        environment: The content of the run's environment.json.
    """
    checkpoint = read_checkpoint(folder)
    settings = checkpoint.settings
    layers = checkpoint.layers
    dim = len(layers[-1].weight) if layers else checkpoint.config.get("hidden_size")
    start = result["start"]
    purpose = f"{config.card.about}\n\n" if config.card.about else ""
    expansion = ", expanded with [MASK]" if settings.query_expansion else ""
    sections = [
        f"---\n{yaml.safe_dump(_front_matter(config), sort_keys=False)}---\n",
        f"# {config.name}\n",
        f"{purpose}A late-interaction model: {dim} dimensions for each token, compared by MaxSim. "
        f"Queries take up to {settings.query_length} tokens{expansion}, documents up to "
        f"{settings.document_length}. It was trained from {_name(start)} with colmodern "
        f"{environment['colmodern']} through PyLate.\n",
        "## Use\n",
        "```python\nfrom colmodern import Reranker\n\n"
        'ranker = Reranker("this folder or its hub name")\n'
        'hits = ranker.rank("a query", ["a document", "another one"])\n```\n',
        "## Data\n",
        _table(
            ("set", "kind", "rows", "rows in an epoch", "state"),
            [
                (x["path"], x["kind"], f"{x['rows']:,}", f"{x['rows_in_an_epoch']:,}", _state(x))
                for x in result["data"]
            ],
        ),
        "## Measures\n",
        _measures(config, result),
        "## Training\n",
        _training(config, result, environment),
    ]
    return "\n".join(sections)


def no_gain(result: dict[str, object]) -> str | None:
    """A sentence for a model that is what its training started from; None for any other.

    Args:
        result: The content of the run's training.json.
    """
    if result["step_of_the_model"] != 0 or not result["steps"]:
        return None
    return (
        "training gained nothing: all later weights measured worse, so the model has the weights "
        f"that training started from (step 0 of {result['steps']:,}); set weights=last to keep the "
        "last ones"
    )


def _front_matter(config: TrainConfig) -> dict[str, object]:
    fields: dict[str, Any] = {"library_name": "PyLate", "pipeline_tag": "sentence-similarity"}
    fields["tags"] = ["ColBERT", "PyLate", "sentence-transformers", "feature-extraction"]
    if config.card.licence:
        fields["license"] = config.card.licence
    if config.card.language:
        fields["language"] = list(config.card.language)
    model = config.encoder.model
    if not model.startswith("package:") and not os.path.isdir(os.path.expanduser(model)):
        fields["base_model"] = model
    hub = [source.path for source in config.data if not is_file_name(source.path)]
    if datasets := [path for path in dict.fromkeys(hub) if not Path(path).is_dir()]:
        fields["datasets"] = datasets
    return fields


def _name(start: dict[str, Any]) -> str:
    revision = f" at revision {start['revision'][:12]}" if start["revision"] else ""
    return f"`{start['model']}`{revision} (weights {start['weights_sha256'][:12]})"


def _state(facts: dict[str, Any]) -> str:
    if facts.get("sha256"):
        return f"sha256 {facts['sha256'][:12]}"
    return f"revision {facts.get('revision') or 'not pinned'}"


def _measures(config: TrainConfig, result: dict[str, Any]) -> str:
    measures, before = result["measures"], result["measures_at_start"]
    if not measures:
        return "Not measured during training.\n"
    limit = config.evaluation.max_queries
    sample = f", the first {limit} queries of each set" if limit else ""
    rows = [
        (name, measure, f"{before[name][measure]:.4f}" if name in before else "", f"{value:.4f}")
        for name, values in measures.items()
        for measure, value in values.items()
    ]
    bias = "These sets chose the step whose weights are kept, so they flatter it. "
    gain = no_gain(result)
    sentence = "" if gain is None else f"**{gain[0].upper()}{gain[1:]}.**\n\n"
    return sentence + (
        f"Exact MaxSim{sample}; at step {result['step_of_the_model']:,} of {result['steps']:,}. "
        f"{bias if config.weights == 'best' else ''}\n\n"
        + _table(("set", "measure", "before training", "model"), rows)
    )


def _training(config: TrainConfig, result: dict[str, object], environment: dict[str, Any]) -> str:
    versions = {"colmodern": environment["colmodern"], **environment["packages"]}
    hardware = environment["hardware"]
    machine = ", ".join(hardware["gpus"]) or hardware["processor"]
    settings = [("objective", _plain(config.objective.model_dump()))]
    settings += [(name, str(value)) for name, value in config.optimisation.model_dump().items()]
    settings += [("steps", f"{result['steps']:,}"), ("machine", machine)]
    settings += [
        (name, str(versions[name])) for name in ("colmodern", *_VERSIONS) if versions.get(name)
    ]
    if environment["commit"]:
        settings.append(("commit of colmodern", environment["commit"]))
    return _table(("setting", "value"), settings)


def _plain(values: dict[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
