"""A whole sweep of a small collection."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern.config.sweep import SweepConfig, load_sweeps
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError, StorageError
from colmodern.index.plaid.index import PlaidIndex
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.sweep.sweep import run_sweep
from colmodern.progress import Silent
from colmodern.report.sweep_tables import lengths_table, points_table

GRID = """
index: {kind: plaid}
search: {k: 10}
measures: [nDCG@10, AP]
sweep:
  nbits: [1, 4]
  nprobe: [null, 2]
  n_candidates: [10, 20]
  pool_factor: [1, 2]
  document_length: [8, 24]
"""
STUDY = """
measures: [nDCG@10]
sweep: {document_length: [6, 12, 24], cut: [encode, stored]}
"""


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def sweep(eval_config: Callable[..., Path]) -> Callable[..., SweepConfig]:
    """Makes the config of a sweep."""

    def make(extra: str = GRID, *overrides: str) -> SweepConfig:
        [config] = load_sweeps([eval_config("grid", extra=extra)], overrides)
        return config

    return make


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def test_everything_is_made_once_and_every_point_is_there(sweep, monkeypatch) -> None:
    encoded, built = [], []
    encode, build = Encoder.encode_tokens, PlaidIndex.build.__func__

    def counting(self: Encoder, tokens, **options):
        encoded.append(len(tokens.cut))
        return encode(self, tokens, **options)

    def noting(cls, documents, folder, *arguments, **options):
        built.append((folder, options["nbits"]))
        return build(cls, documents, folder, *arguments, **options)

    monkeypatch.setattr(Encoder, "encode_tokens", counting)
    monkeypatch.setattr(PlaidIndex, "build", classmethod(noting))
    config = sweep()
    found, folder = run_sweep(config)
    assert len(found.points) == 32
    # one encoding of each length and one of the queries, an index for each state of documents
    assert len(encoded) == 3
    assert len(built) == len(set(built)) == 8
    rows = read_csv(folder / "sweep.csv")
    told = json.loads((folder / "sweep.json").read_text())
    assert len(rows) == len(told["points"]) == 32
    settings = {
        (r["nbits"], r["nprobe"], r["n_candidates"], r["pool_factor"], r["document_length"])
        for r in rows
    }
    assert len(settings) == 32
    assert {r["cut_from_stored"] for r in rows} == {"0.0"}
    for name in ("pareto-latency.png", "pareto-bytes.png", "lengths.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org", "")
    table = points_table(found)
    assert [row[0].text for row in table.rows] == [str(n) for n in range(1, 33)]


def test_points_are_what_evaluations_of_their_settings_find(sweep, eval_config) -> None:
    found, _ = run_sweep(sweep(GRID, "sweep.document_length=[12, 24]", "storage.dtype=float32"))
    for point in found.points[::5]:
        s = point.settings
        extra = (
            f"index: {{kind: plaid, nbits: {s['nbits']}, nprobe: {s['nprobe'] or 'null'}, "
            f"n_candidates: {s['n_candidates']}}}\nsearch: {{k: 10}}\nmeasures: [nDCG@10, AP]\n"
            "storage: {dtype: float32}\n"
        )
        path = eval_config("alone", extra=extra)
        path.write_text(
            path.read_text().replace(
                "encoder: {",
                f"encoder: {{document_length: {s['document_length']}, pool_factor: {s['pool_factor']}, ",
            )
        )
        from colmodern.config.load import load_eval_config

        alone = run_eval(load_eval_config(path, [f"name=alone-{id(point)}"]))
        assert {n: e.mean for n, e in point.measures.items()} == pytest.approx(
            alone.evaluation.mean
        )
        assert point.n_tokens == alone.facts["tokens"]
        assert point.n_bytes == alone.facts["index"]["bytes"]["total"]
        assert alone.fidelity is not None
        assert point.exact == pytest.approx(alone.fidelity.exact.mean)
        assert point.overlap["overlap@10"] == pytest.approx(alone.fidelity.overlap["overlap@10"])


def test_a_second_call_finds_all_of_it_done(sweep, monkeypatch) -> None:
    first, folder = run_sweep(sweep())
    csv_text = (folder / "sweep.csv").read_text()
    monkeypatch.setattr(Encoder, "encode_tokens", None)
    monkeypatch.setattr(PlaidIndex, "build", None)
    monkeypatch.setattr(PlaidIndex, "search", None)
    second, again = run_sweep(sweep())
    assert again == folder
    assert second == first
    assert (folder / "sweep.csv").read_text() == csv_text  # latencies too


@pytest.mark.parametrize("stage", ["encode", "build", "search"])
def test_an_interrupted_sweep_goes_on(sweep, tmp_path: Path, monkeypatch, stage: str) -> None:
    whole, _ = run_sweep(sweep(GRID, f"output={tmp_path / 'whole'}"))
    target, name = {
        "encode": (Encoder, "encode_tokens"),
        "build": (PlaidIndex, "build"),
        "search": (PlaidIndex, "search"),
    }[stage]
    work, calls = getattr(target, name), []

    def broken(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, broken)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(sweep())
    folder = tmp_path / "runs"
    assert not (folder / "grid").exists()
    kept = {p: p.stat().st_mtime_ns for p in folder.glob(".cache/*/*.json")}
    found, _ = run_sweep(sweep())
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    for one, other in zip(found.points, whole.points, strict=True):
        assert (one.settings, one.measures, one.n_bytes) == (
            other.settings,
            other.measures,
            other.n_bytes,
        )


def test_a_length_study_tells_cuts_from_encodings(sweep) -> None:
    found, folder = run_sweep(sweep(STUDY))
    told = [(one.length, one.cut, one.cut_share > 0) for one in found.lengths]
    assert told == [
        (6, "encode", False),
        (12, "encode", False),
        (24, "encode", False),
        (6, "stored", True),
        (12, "stored", True),
    ]
    assert all(point.is_exact for point in found.points)
    reference = next(one for one in found.lengths if one.length == 24)
    assert reference.difference == (0, 0, 0)
    assert found.reference == "exact search with all tokens of length 24"
    approximate = [row[-1].text for row in lengths_table(found).rows]
    assert approximate[:3] == ["none"] * 3
    assert all(text.endswith("%") for text in approximate[3:])
    rows = read_csv(folder / "lengths.csv")
    assert [float(row["value.mean"]) for row in rows] == [one.value.mean for one in found.lengths]
    assert not (folder / "pareto-latency.png").exists()  # exact search has one cost
    assert (folder / "report.html").read_text().count("<svg") == 1


def test_windows_cover_whole_documents_and_can_only_be_cut_afterwards(sweep) -> None:
    split = ("encoder.overflow=split", "encoder.document_length=10", "encoder.overlap=2")
    grid = "sweep: {document_length: [8, 16, null], cut: stored}\nmeasures: [nDCG@10]\n"
    found, _ = run_sweep(sweep(grid, *split))
    tokens = [point.n_tokens for point in found.points]
    assert tokens == sorted(set(tokens))
    assert [one.length for one in found.lengths] == [8, 16, None]
    assert [one.cut_share > 0 for one in found.lengths] == [True, True, False]
    with pytest.raises(ConfigError, match="would be the length of windows"):
        run_sweep(sweep(grid, *split, "sweep.cut=encode"))


def test_points_may_rank_documents_by_passages(sweep) -> None:
    split = ("encoder.overflow=split", "encoder.document_length=10", "encoder.overlap=2")
    grid = "sweep: {pool_factor: [1, 2]}\nmeasures: [nDCG@10]\nsearch: {passages: best}\n"
    found, _ = run_sweep(sweep(grid, *split))
    whole, pooled = (point.n_tokens for point in found.points)
    assert pooled < whole
    assert all(point.measures["nDCG@10"].mean > 0 for point in found.points)
    cut = "sweep: {document_length: [8, null], cut: stored}\nsearch: {passages: best}\n"
    with pytest.raises(ConfigError, match="which have no longer document to cut"):
        run_sweep(sweep(cut, *split))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweep.document_length=[8, 99]"], "99 is more than the 64 tokens this backbone takes"),
        (["sweep.document_length=[30, 8]", "sweep.cut=stored"], "30 tokens cannot be cut from"),
        (["encoder.model=nowhere"], "nowhere"),
        (["measures=[nDCG@10, XYZ]"], "XYZ"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(sweep, tmp_path, overrides, message) -> None:
    from colmodern.errors import ColmodernError

    with pytest.raises(ColmodernError, match=message):
        run_sweep(sweep(GRID, *overrides))
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_something_else_is_left_alone(sweep, tmp_path: Path) -> None:
    (tmp_path / "runs/grid").mkdir(parents=True)
    (tmp_path / "runs/grid/thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="is not a sweep of colmodern"):
        run_sweep(sweep())
    assert (tmp_path / "runs/grid/thesis.txt").read_text() == "mine"


def test_without_matplotlib_the_table_is_there_and_the_cure_is_said(sweep, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    notes = Notes()
    config = sweep(STUDY)
    _, folder = run_sweep(config, progress=notes)
    assert any("pip install 'colmodern[plot]'" in note for note in notes.said)
    assert "<svg" not in (folder / "report.html").read_text()
    assert (folder / "sweep.csv").is_file()
    monkeypatch.undo()
    run_sweep(config)
    assert "<svg" in (folder / "report.html").read_text()
