from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import ir_measures
import pytest
from conftest import CORPUS, QUERIES, write_beir, write_jsonl

from colmodern.config.load import load_eval_config
from colmodern.config.suite import Member, load_suite
from colmodern.encoder.encoder import Encoder
from colmodern.evaluation.suite import tabulate
from colmodern.evaluation.trec import read_qrels
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.evaluate.suite import (
    Outcome,
    cells,
    describe_failures,
    run_suite,
    write_outcomes,
)
from colmodern.progress import Silent


@pytest.fixture
def suite(tmp_path: Path, beir: Path, pylate_bert: Path) -> Callable[..., Path]:
    """Writes a suite of two small collections and the tiny PyLate checkpoint."""
    write_beir(tmp_path / "other", CORPUS[:4], QUERIES[:2], ["q1\td1\t1", "q2\td2\t1"])

    def write(extra: str = "", name: str = "tiny") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            f"encoder: {{model: {pylate_bert}}}\noutput: {tmp_path / 'runs'}\n{extra}\n"
            "sets:\n"
            f"  small: {{dataset: {{name: {beir}}}, encoder: {{query_length: 12}}}}\n"
            f"  other: {{dataset: {{name: {tmp_path / 'other'}}}}}\n"
        )
        return path

    return write


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def run(*paths: Path, overrides: tuple[str, ...] = ()) -> list[Outcome]:
    return run_suite(load_suite(paths, overrides))


def test_the_model_is_loaded_once_whatever_its_settings(suite, monkeypatch) -> None:
    loaded, load = [], Encoder.from_pretrained

    def counting(*arguments: object, **settings: object) -> Encoder:
        loaded.append(arguments)
        return load(*arguments, **settings)

    monkeypatch.setattr(Encoder, "from_pretrained", counting)
    outcomes = run(suite())
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert len(loaded) == 1
    alone = [run_suite([member])[0] for member in load_suite([suite()], ["output=alone"])]
    assert len(loaded) == 3
    assert [outcome.measures for outcome in outcomes] == [outcome.measures for outcome in alone]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_finished_is_not_done_again(suite, tmp_path: Path) -> None:
    first = run(suite())
    stamps = [(o.folder / "metrics.json").stat().st_mtime_ns for o in first]
    second = run(suite())
    assert [outcome.reused for outcome in (*first, *second)] == [False, False, True, True]
    assert [outcome.measures for outcome in first] == [outcome.measures for outcome in second]
    assert [(o.folder / "metrics.json").stat().st_mtime_ns for o in second] == stamps


@pytest.mark.parametrize("change", ["config", "documents", "queries", "judgments"])
def test_a_change_is_evaluated_again_where_it_is(suite, beir: Path, change: str) -> None:
    run(suite())
    overrides = ("measures=[AP]",) if change == "config" else ()
    if change == "documents":
        write_jsonl(beir / "corpus.jsonl", [*CORPUS[:5], {"_id": "d6", "text": "other"}])
    if change == "queries":
        write_jsonl(beir / "queries.jsonl", [*QUERIES[:2], {"_id": "q3", "text": "other"}])
    if change == "judgments":
        (beir / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    reused = {o.member.row: o.reused for o in run(suite(), overrides=overrides)}
    assert reused == {"small": False, "other": change != "config"}


def test_a_set_that_fails_is_said_and_the_others_are_evaluated(suite, beir: Path) -> None:
    (beir / "queries.jsonl").write_text("{")
    notes = Notes()
    outcomes = run_suite(load_suite([suite()]), progress=notes)
    assert outcomes[0].measures is None
    assert "queries.jsonl:1: not valid JSON" in str(outcomes[0].error)
    assert outcomes[1].measures is not None
    assert any(note.startswith("error: ") for note in notes.said)
    table = tabulate(cells(outcomes))
    assert table.lines[0].values == (None,)
    assert table.average == (None,)


def test_a_fault_of_ours_does_not_stop_the_others_either(suite, monkeypatch) -> None:
    encode = Encoder.encode_tokens
    calls = []

    def failing(self: Encoder, *arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("made for this test")
        return encode(self, *arguments, **options)

    monkeypatch.setattr(Encoder, "encode_tokens", failing)
    outcomes = run(suite())
    assert outcomes[0].error == "RuntimeError: made for this test"
    assert outcomes[1].measures is not None
    assert all(outcome.error is None for outcome in run(suite()))


def test_missing_data_is_said_first_and_a_missing_model_looked_for_once(
    suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path / "cache"))
    path = suite()
    path.write_text(path.read_text() + "  beir/nq:\n  mldr/de: {dataset: {split: dev}}\n")
    notes = Notes()
    outcomes = run_suite(load_suite([path], ["encoder.model=./nowhere"]), progress=notes)
    assert notes.said[0].endswith("colmodern fetch beir/nq && colmodern fetch mldr/de --split dev")
    assert all(outcome.error for outcome in outcomes)
    assert outcomes[0].error == outcomes[1].error
    assert "colmodern fetch beir/nq" in str(outcomes[2].error)


def test_a_fault_of_the_environment_is_one_message_with_what_it_stopped(
    suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path / "cache"))
    path, notes = suite(), Notes()
    path.write_text(path.read_text() + "  beir/nq:\n  beir/fiqa:\n")
    outcomes = run_suite(load_suite([path], ["encoder.model=./nowhere"]), progress=notes)
    model, data = describe_failures(outcomes)
    assert model.startswith("2 evaluations, tiny on small the first: no folder ./nowhere")
    assert data.startswith("2 evaluations, tiny on beir/nq the first: no data sets")
    said = [note for note in notes.said if "nowhere" in note or "fetch" in note]
    assert len(said) == 1
    assert "2 of 4 evaluations" in said[0]


def test_a_full_disk_ends_the_work_of_a_suite(suite, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def full(*arguments: object, **options: object) -> None:
        tried.append(1)
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")

    monkeypatch.setattr(Encoder, "encode_tokens", full)
    outcomes = run(suite())
    assert len(tried) == 1
    [message] = describe_failures(outcomes)
    assert message.startswith("2 evaluations, tiny on small the first: disk full")


def test_an_interruption_ends_the_whole_and_the_rest_is_done_later(suite) -> None:
    class Stop(Silent):
        """Interrupts when the second set begins."""

        def note(self, message: str) -> None:
            if message.startswith("2 of 2"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(load_suite([suite()]), progress=Stop())
    assert [outcome.reused for outcome in run(suite())] == [True, False]


def test_every_index_setting_shares_one_encoding(suite, tmp_path: Path) -> None:
    plaid = "index: {kind: plaid, n_centroids: 4, nbits: %d}"
    files = [
        suite(name="exact"),
        suite(plaid % 4, name="four"),
        suite(plaid % 2, name="two"),
    ]
    outcomes = run(*files)
    assert [outcome.error for outcome in outcomes] == [None] * 6
    cache = tmp_path / "runs" / ".cache"
    assert len(list(cache.glob("documents-*"))) == 2  # one a collection
    for outcome in outcomes[2:]:
        timings = json.loads((outcome.folder / "timings.json").read_text())
        assert timings["encode documents"]["reused"]
        assert timings["encode queries"]["reused"]
    table = tabulate(cells(outcomes))
    assert table.columns == ("exact", "four", "two")
    assert all(value is not None for line in table.lines for value in line.values)


def test_measures_equal_trec_eval_on_every_query(suite) -> None:
    """Computed by pytrec_eval itself, from the files that a run leaves."""
    names = ["nDCG@10", "RR", "R@100", "AP", "P@5"]
    for outcome in run(suite(f"measures: [{', '.join(names)}]")):
        qrels = read_qrels(outcome.folder / "qrels.trec")
        scored = list(ir_measures.read_trec_run(str(outcome.folder / "run.trec")))
        lines = (outcome.folder / "per_query.jsonl").read_text().splitlines()
        ours = {row["query_id"]: row for row in map(json.loads, lines)}
        assert ours.keys() == qrels.keys()
        parsed = [ir_measures.parse_measure(name) for name in names]
        metrics = list(ir_measures.pytrec_eval.iter_calc(parsed, qrels, scored))
        assert len(metrics) == len(names) * len(qrels)
        for metric in metrics:
            value = ours[metric.query_id][str(metric.measure)]
            assert value == pytest.approx(metric.value, abs=1e-6)


def test_what_each_came_to_is_written(suite, tmp_path: Path) -> None:
    members: list[Member] = load_suite([suite()])
    outcomes = run_suite(members)
    write_outcomes(tmp_path / "x.json", outcomes)
    written = json.loads((tmp_path / "x.json").read_text())
    assert [(one["row"], one["column"], one["error"]) for one in written] == [
        ("small", "tiny", None),
        ("other", "tiny", None),
    ]
    assert written[0]["measures"] == outcomes[0].measures


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.json", '{"measures": {}}'),
        ("metrics.json", "{}"),
        ("environment.json", "[]"),
        ("config.yaml", "\0"),
    ],
)
def test_an_earlier_run_that_is_damaged_is_evaluated_anew(
    suite, tmp_path: Path, name: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(suite())
    folder = first[0].folder
    (folder / name).write_text(text)
    second = run(suite())
    assert [outcome.reused for outcome in second] == [False, True]
    assert [outcome.measures for outcome in second] == [outcome.measures for outcome in first]
    assert (folder / name).read_text() != text


def test_runs_stored_under_old_names_of_settings_are_finished(suite) -> None:
    path = suite("max_memory: 100G\nindex: {kind: plaid, exact_max_memory: 100M}")
    first = run(path)
    for outcome in first:
        config = outcome.folder / "config.yaml"
        text = config.read_text().replace("build_max_memory", "max_ram")
        text = text.replace("exact_max_memory", "memory_budget").replace(
            "max_memory: 100G", "max_ram: 100G"
        )
        config.write_text(text)
    again = run(path)
    assert [outcome.reused for outcome in again] == [True, True]
    assert [outcome.measures for outcome in again] == [outcome.measures for outcome in first]


def test_a_run_of_the_same_config_by_old_names_is_replaced(eval_config) -> None:
    config = load_eval_config(eval_config(), ["index.exact_max_memory=100M"])
    folder = run_eval(config).folder
    file = folder / "config.yaml"
    new = file.read_text()
    file.write_text(new.replace("exact_max_memory", "memory_budget"))
    run_eval(config)
    assert file.read_text() == new
    assert not folder.with_name(f"{folder.name}.1").exists()
