"""What fuzz_files.py changes, and the readers that each changed file goes through."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz_mutations import random_override

from colmodern import EmbeddingStore, Encoder, ExactIndex, PlaidIndex, load_dataset
from colmodern.cli.main import main as command_line
from colmodern.config.expected import load_expected
from colmodern.config.load import load_eval_config, parse_overrides
from colmodern.config.mine import load_mine_config
from colmodern.config.suite import load_suite
from colmodern.config.sweep import load_sweeps
from colmodern.config.train import load_train_config
from colmodern.evaluation.trec import read_qrels, read_run
from colmodern.training.examples import check_rows, read_rows

Reader = Callable[[Path, random.Random], object]


class RawError(Exception):
    """The command line called something a fault of its own."""


def run_command(*words: str | Path) -> None:
    """A command, in this process; what it does not explain is raised."""
    words = tuple(str(word) for word in words)
    try:
        command_line(list(words))
    except SystemExit as ended:
        status = ended.code
    if status in (0, 2, 3):
        return
    try:
        command_line([*words, "--debug"])
    except SystemExit:
        raise RawError(f"exit status {status} of {words}") from None


@dataclass(frozen=True)
class Subject:
    """Files to damage, and the readers that each input of theirs goes through.

    files: below the folder
    form: of the files: json, jsonl, lines, yaml, gz or bytes
    is_sealed: whether half of the inputs get a right checksum
    """

    kind: str
    form: str
    files: tuple[str, ...]
    readers: tuple[Reader, ...]
    is_sealed: bool = False
    weight: int = 1


def _read_store(folder: Path, rng: random.Random) -> None:
    store = EmbeddingStore(folder / "store", verify=rng.choice(["lazy", "full"]))
    ExactIndex.load(folder / "store").search(store.select([0])[0], 3)
    store.to_memory()
    store.chunks(50)
    store.verify()


def _read_index(folder: Path, rng: random.Random) -> None:
    index = PlaidIndex.load(folder / "index", verify=rng.choice(["lazy", "full"]))
    query = [[1.0] + [0.0] * (index.dim - 1)]
    index.search(query, 5)  # type: ignore[arg-type]
    index.info()
    PlaidIndex.check(folder / "index")


def _read_collection(name: str) -> Reader:
    def read(folder: Path, rng: random.Random) -> None:
        dataset = load_dataset(folder / name)
        list(dataset.corpus)

    return read


def _read_loose(folder: Path, rng: random.Random) -> None:
    names = ("corpus.jsonl", "queries.jsonl", "qrels.trec")
    files = tuple(folder / "loose" / name for name in names)
    list(load_dataset("loose", files=files).corpus)  # type: ignore[arg-type]


def _command(*words: str) -> Reader:
    """A command, in whose words {} stands for the folder."""

    def read(folder: Path, rng: random.Random) -> None:
        run_command(*(word.replace("{}", str(folder)) for word in words))

    return read


def _sometimes(share: float, reader: Reader) -> Reader:
    def read(folder: Path, rng: random.Random) -> None:
        if rng.random() < share:
            reader(folder, rng)

    return read


def _compare(folder: Path, rng: random.Random) -> None:
    form = rng.choice(("html", "markdown", "latex", "json", "terminal"))
    runs = [folder / "runs/one", folder / "runs/two"]
    words: list[str | Path] = ["compare", *rng.sample(runs, 2)]
    if form == "json":
        words.append("--json")
    elif form != "terminal":
        words += ["--format", form, "-o", folder / f"page-{os.getpid()}"]
    run_command(*words)


def _checkpoint(library: str) -> Reader:
    def read(folder: Path, rng: random.Random) -> None:
        encoder = Encoder.from_pretrained(folder / f"checkpoint-{library}", device="cpu")
        encoder.describe()
        encoder.encode_documents(["a list of names"])
        encoder.encode_queries(["find a name"])

    return read


def _checkpoint_subject(library: str, folder: Path) -> Subject:
    root = folder / f"checkpoint-{library}"
    names = [str(path.relative_to(folder)) for path in root.rglob("*.json")]
    names += [str(path.relative_to(folder)) for path in root.glob("*.metadata")]
    reader = _checkpoint(library)
    return Subject(f"checkpoint of {library}", "json", tuple(sorted(names)), (reader,), weight=2)


def _load_overrides(folder: Path, rng: random.Random) -> None:
    """Overrides of every kind of config; the last one is wrong, so that nothing runs."""
    override = random_override(rng)
    config = folder / "configs/eval.yaml"
    calls: list[Callable[[], object]] = [
        lambda: load_eval_config(config, [override]),
        lambda: load_suite([folder / "configs/suite.yaml"], [override]),
        lambda: parse_overrides([override], {}),
        lambda: load_sweeps([folder / "configs/sweep.yaml"], [override]),
        lambda: load_train_config(folder / "configs/train.yaml", [override]),
        lambda: load_mine_config(folder / "configs/mine.yaml", [override]),
        lambda: run_command("eval", config, override, "bogus=1"),
        lambda: run_command("plan", config, override, "bogus=1"),
        lambda: run_command("train", folder / "configs/train.yaml", override, "bogus=1"),
        lambda: run_command("sweep", folder / "configs/sweep.yaml", override, "bogus=1"),
    ]
    rng.choice(calls)()


def _config_readers(loader: Callable[[Path], object], name: str) -> tuple[Any, ...]:
    return (
        lambda folder, rng: loader(folder / f"configs/{name}.yaml"),
        _command("info", f"{{}}/configs/{name}.yaml"),
    )


def subjects(folder: Path) -> list[Subject]:
    """Everything that is damaged, in a fixed order."""
    return [
        *_store_subjects(folder),
        *_run_subjects(folder),
        *_config_subjects(),
        *_collection_subjects(),
        *_index_and_model_subjects(folder),
    ]


def _store_subjects(folder: Path) -> list[Subject]:
    stores = [str(path.relative_to(folder)) for path in (folder / "store").glob("shard-*/*.json")]
    return [
        Subject(
            "store manifest",
            "json",
            ("store/manifest.json",),
            (_read_store, _command("info", "{}/store")),
            True,
            4,
        ),
        Subject("store shard", "json", tuple(sorted(stores)), (_read_store,)),
    ]


def _run_subjects(folder: Path) -> list[Subject]:
    run = ("metrics.json", "environment.json", "timings.json")
    item = [str(path.relative_to(folder)) for path in (folder / "runs").rglob("search.json")]
    info = _command("info", "{}/runs/one")
    listing = _command("cache", "--output", "{}/runs")
    of_runs = (_compare, info, _command("info", "{}/runs"), _sometimes(0.1, listing))
    search = _sometimes(0.1, _command("search", "{}/runs/one", "wing", "-k", "2"))
    of_plaid = (
        _command("info", "{}/runs/plaid"),
        _sometimes(0.1, _command("search", "{}/runs/plaid", "wing")),
    )
    zipped = (
        _read_collection("zipped"),
        lambda f, r: read_run(f / "zipped/run.trec.gz"),
        _sometimes(0.3, _command("info", "{}/zipped")),
    )
    gz = ("corpus.jsonl.gz", "queries.jsonl.gz", "qrels/test.tsv.gz", "run.trec.gz")
    return [
        Subject(
            "run", "json", tuple(f"runs/one/{name}" for name in run), (*of_runs, search), weight=3
        ),
        Subject("run", "yaml", ("runs/one/config.yaml",), (*of_runs, search), weight=2),
        Subject("run", "jsonl", ("runs/one/per_query.jsonl",), of_runs, weight=2),
        Subject("run", "lines", ("runs/one/run.trec", "runs/one/qrels.trec"), of_runs, weight=2),
        Subject("run with an index", "json", ("runs/plaid/environment.json",), of_plaid),
        Subject("cache", "json", tuple(sorted(item)), (listing,)),
        Subject("gz", "gz", tuple(f"zipped/{name}" for name in gz), zipped, weight=2),
    ]


def _config_subjects() -> list[Subject]:
    return [
        Subject("override", "none", (), (_load_overrides,), weight=4),
        Subject(
            "config",
            "yaml",
            ("configs/eval.yaml",),
            _config_readers(load_eval_config, "eval"),
            weight=2,
        ),
        Subject(
            "config", "yaml", ("configs/train.yaml",), _config_readers(load_train_config, "train")
        ),
        Subject(
            "config", "yaml", ("configs/mine.yaml",), _config_readers(load_mine_config, "mine")
        ),
        Subject(
            "config",
            "yaml",
            ("configs/sweep.yaml",),
            _config_readers(lambda p: load_sweeps([p]), "sweep"),
        ),
        Subject(
            "config", "yaml", ("configs/expected.yaml",), _config_readers(load_expected, "expected")
        ),
        Subject(
            "suite config",
            "yaml",
            ("configs/suite.yaml",),
            _config_readers(lambda p: load_suite([p]), "suite"),
        ),
        Subject("suite", "json", ("suite.json",), (_command("info", "{}/suite.json"),)),
    ]


def _collection_subjects() -> list[Subject]:
    loose = (_read_loose, _command("info", "{}/loose/qrels.trec"))
    trec = (lambda f, r: read_run(f / "loose/run.trec"), _command("info", "{}/loose/run.trec"))
    beir = (_read_collection("beir"), _sometimes(0.3, _command("info", "{}/beir")))
    return [
        Subject("qrels", "lines", ("beir/qrels/test.tsv",), beir, weight=2),
        Subject(
            "qrels",
            "lines",
            ("loose/qrels.trec",),
            (*loose, lambda f, r: read_qrels(f / "loose/qrels.trec")),
        ),
        Subject("TREC run", "lines", ("loose/run.trec",), trec, weight=2),
        Subject("corpus", "jsonl", ("beir/corpus.jsonl",), beir, weight=2),
        Subject("queries", "jsonl", ("beir/queries.jsonl",), beir, weight=2),
    ]


def _index_and_model_subjects(folder: Path) -> list[Subject]:
    examples = [
        lambda f, r, name=name, kind=kind: list(
            check_rows(read_rows(f / f"{name}.jsonl"), kind, None)
        )
        for name, kind in (("triples", "triples"), ("scored", "scores"))
    ]
    cards = tuple(f"checkpoint-{item}/README.md" for item in ("pylate", "stanford"))
    return [
        Subject(
            "index manifest",
            "json",
            ("index/manifest.json",),
            (_read_index, _command("info", "{}/index")),
            True,
            4,
        ),
        *(
            _checkpoint_subject(item, folder)
            for item in ("pylate", "stanford", "sentence_transformers")
        ),
        Subject("model card", "bytes", cards, (_checkpoint("pylate"), _checkpoint("stanford"))),
        Subject("examples", "jsonl", ("triples.jsonl", "scored.jsonl"), tuple(examples)),
        Subject(
            "training", "json", ("training/training.json",), (_command("info", "{}/training"),)
        ),
        Subject("sweep", "json", ("sweep/sweep.json",), (_command("info", "{}/sweep"),)),
    ]
