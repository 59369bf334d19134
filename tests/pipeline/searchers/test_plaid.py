"""An evaluation with a compressed index, and exact search beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import QUERIES
from pipeline.evaluate.test_run import LOADED, Notes, cached, reused, run

from colmodern import ExactIndex, PlaidIndex
from colmodern.config.index import PlaidIndexConfig
from colmodern.config.load import load_eval_config
from colmodern.errors import StorageError
from colmodern.files import sha256_of_json
from colmodern.index.plaid.disk.manifest import VERSION
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.open.artifacts import index_of, store_of
from colmodern.pipeline.result import EvalResult
from colmodern.pipeline.searchers.plaid_index import index_key

PLAID = "index: {kind: plaid}\n"
STAGES = ("encode documents", "encode queries", "build index", "search", "exact search")


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def config(eval_config: Callable[..., Path]) -> Path:
    """Of a small evaluation with an index."""
    return eval_config(extra=PLAID)


def test_the_key_of_an_index_has_the_names_that_earlier_runs_were_stored_with() -> None:
    documents = SimpleNamespace(manifest={"fingerprint": "f"})
    config = PlaidIndexConfig(build_max_memory="2G")
    settings = {"nbits": 4, "codec": None, "n_centroids": None, "seed": 0, "max_ram": "2G"}
    assert index_key(documents, config) == sha256_of_json([VERSION, "f", settings])  # type: ignore[arg-type]


def test_the_index_and_what_it_loses_stand_in_every_file(config: Path) -> None:
    result, _ = run(config)
    metrics = json.loads((result.folder / "metrics.json").read_text())
    fidelity = result.fidelity
    assert fidelity is not None
    assert metrics["exact"] == fidelity.exact.mean
    assert metrics["exact"].keys() == metrics["measures"].keys()
    # the collection is smaller than the 10 results: all of it is found
    assert metrics["overlap"] == {"overlap@10": 1.0, "overlap@100": 1.0}
    parts = metrics["index"]["bytes"]
    assert parts["total"] == sum(parts.values()) - parts["total"]
    per_token = parts["total"] / metrics["tokens"]
    assert metrics["index"]["bytes_per_token"]["total"] == pytest.approx(per_token, abs=0.01)
    timings = json.loads((result.folder / "timings.json").read_text())
    assert list(timings) == [*STAGES, "compare", "measure", *LOADED]
    assert timings["build index"]["items"] == metrics["tokens"]
    assert timings["build index"]["seconds"] > 0
    rows = [json.loads(s) for s in (result.folder / "per_query.jsonl").read_text().splitlines()]
    assert {row["overlap@10"] for row in rows} == {1.0}
    assert {row["query"] for row in rows} == {q["text"] for q in QUERIES[:3]}
    told = json.loads((result.folder / "fidelity.json").read_text())
    assert told["queries"] == 3
    assert told["estimates"]["overlap@10"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    for name, exact in metrics["exact"].items():
        lost = told["estimates"][f"{name} lost"]["mean"]
        assert lost == pytest.approx(exact - metrics["measures"][name])
    assert told["lost"] == {"relevant_documents": 0, "by_stage": {}, "documents": []}
    assert rows[0]["exact"].keys() == metrics["exact"].keys()
    environment = json.loads((result.folder / "environment.json").read_text())
    assert set(environment["stages"]) == set(STAGES)
    tag = (result.folder / "run.trec").read_text().split()[5]
    assert tag == "colmodern-plaid"
    page = (result.folder / "report.html").read_text()
    for text in ("overlap@100", "<small>exact ", "residuals"):
        assert text in page


def test_exact_beside_the_index_is_the_exact_run(config: Path) -> None:
    result, _ = run(config)
    exact, _ = run(config, "index={kind: exact}", "name=exact")
    assert exact.fidelity is None
    assert result.fidelity is not None
    assert result.fidelity.exact == exact.evaluation
    assert all(reused(exact).values())  # also the search: its stage is the same


def test_less_than_all_is_told_as_overlap(config: Path) -> None:
    result, _ = run(config, "search.k=2", "measures=[RR@2]", "index.nbits=1")
    assert result.fidelity is not None
    assert list(result.fidelity.overlap) == ["overlap@2"]
    index = PlaidIndex.load(folder_of(result))
    queries, documents = cached(result, "queries"), cached(result, "documents")
    found = index.search_batch(store_of(queries), 2)
    exact = ExactIndex.load(documents).search_batch(store_of(queries).to_memory(), 2)
    pairs = zip(found, exact, strict=True)
    shares = [len({a for a, _ in f} & {b for b, _ in e}) / 2 for f, e in pairs]
    assert result.fidelity.overlap["overlap@2"] == pytest.approx(sum(shares) / len(shares))


RECOMPUTED = {
    "search.k=101": {"search", "exact search"},
    "index.nprobe=2": {"search"},
    "index.n_candidates=100": {"search"},
    "index.rescore=true": {"search"},
    "index.nbits=2": {"build index", "search"},
    "index.codec=pq": {"build index", "search"},
    "index.n_centroids=4": {"build index", "search"},
    "index.seed=1": {"build index", "search"},
    "index.build_max_memory=2G": {"build index", "search"},
    "encoder.query_length=12": {"encode queries", "search", "exact search"},
    "encoder.document_length=12": set(STAGES) - {"encode queries"},
    "index.exact_max_memory=100M": set(),
    "index.device=cpu": set(),
    "index.device_max_memory=1G": set(),
    "measures=[AP]": set(),
}


def test_a_changed_setting_recomputes_what_depends_on_it(config: Path) -> None:
    run(config)
    found = {}
    for override in RECOMPUTED:
        result, said = run(config, override)
        found[override] = {stage for stage, was in reused(result).items() if not was}
        for stage in set(STAGES) - found[override]:
            assert any(note.startswith(f"{stage}: reused") for note in said)
    assert found == RECOMPUTED


def test_rescored_results_have_exact_scores(config: Path) -> None:
    result, _ = run(config, "index.rescore=true", "storage.dtype=float32")
    exact, _ = run(config, "index={kind: exact}", "storage.dtype=float32", "name=exact")
    runs = [(r.folder / "run.trec").read_text().splitlines() for r in (result, exact)]
    scores = [{tuple(s.split()[:3]): float(s.split()[4]) for s in lines} for lines in runs]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_without_comparison_there_is_no_exact_search(config: Path) -> None:
    result, _ = run(config, "index.compare_with_exact=false")
    assert result.fidelity is None
    assert "exact search" not in result.timings
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert not {"exact", "overlap"} & metrics.keys()
    assert not (result.folder / "fidelity.json").exists()
    assert "<small>exact " not in (result.folder / "report.html").read_text()


def test_a_resolved_config_with_an_index_gives_the_same_run(config: Path, tmp_path: Path) -> None:
    first, _ = run(config, "index.nprobe=3")
    shutil.copy(first.folder / "config.yaml", tmp_path / "again.yaml")
    assert yaml.safe_load((tmp_path / "again.yaml").read_text())["index"]["nprobe"] == 3
    second, _ = run(tmp_path / "again.yaml", "name=again")
    assert all(reused(second).values())


class Stop(Notes):
    """Interrupts when tokens begin to be compressed."""

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        if task == "compress":
            raise KeyboardInterrupt


def test_an_interrupted_build_goes_on_and_its_time_is_summed(config: Path, tmp_path: Path) -> None:
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        run_eval(load_eval_config(config), progress=stop)
    assert "learning the codec" in " ".join(stop.said)
    cache = tmp_path / "runs" / ".cache"
    assert not [path for path in cache.glob("index-*") if path.is_dir()]
    [record] = cache.glob("index-*.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "seconds": 1000.0}))
    result, said = run(config)
    assert "learning the codec" not in " ".join(said)
    assert [stage for stage, was in reused(result).items() if not was] == list(STAGES[2:])
    assert 1000 < result.timings["build index"].seconds < 2000
    PlaidIndex.check(folder_of(result))
    shutil.rmtree(folder_of(result))  # the record stays, of an index that is gone
    assert run(config)[0].timings["build index"].seconds < 1000


def folder_of(result: EvalResult) -> Path:
    folder = index_of(result.folder)
    assert folder is not None
    return folder


@pytest.mark.parametrize("fault", ["flipped", "changed", "record"])
def test_an_index_that_is_not_what_was_built_is_never_reused(config: Path, fault: str) -> None:
    result, _ = run(config)
    folder = folder_of(result)
    record = folder.with_name(f"{folder.name}.json")
    if fault == "flipped":
        path = folder / "segment-00000" / "codes.npy"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif fault == "changed":
        PlaidIndex.load(folder).delete(["d1"])
    else:
        record.write_text("{")
    before = (result.folder / "metrics.json").read_text()
    message = {"flipped": "differs from its checksum", "changed": "was changed since"}
    with pytest.raises(StorageError, match=message.get(fault, "run again")):
        run(config)
    assert (result.folder / "metrics.json").read_text() == before


def test_an_index_without_its_record_is_built_again(config: Path) -> None:
    result, _ = run(config)
    folder = folder_of(result)
    folder.with_name(f"{folder.name}.json").unlink()  # as when killed between the two
    again, _ = run(config)
    assert not reused(again)["build index"]
    assert reused(again)["search"]


def test_a_run_is_searched_with_its_own_index(config: Path, tmp_path: Path) -> None:
    result, _ = run(config)
    assert PlaidIndex.load(folder_of(result)).n_docs == 6
    exact, _ = run(config, "index={kind: exact}", "name=exact")
    assert index_of(exact.folder) is None
    (tmp_path / "runs").rename(tmp_path / "moved")
    index = index_of(tmp_path / "moved" / "small")
    assert index is not None
    assert PlaidIndex.load(index).n_docs == 6


def test_embeddings_that_cannot_be_indexed_are_kept(config: Path) -> None:
    notes = Notes()
    settings = load_eval_config(config, ["index.build_max_memory=1K"])
    with pytest.raises(MemoryError, match="too little"):
        run_eval(settings, progress=notes)
    result, _ = run(config)
    assert reused(result)["encode documents"]
