"""Evaluations that fuse searches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline.evaluate.test_run import run
from pipeline.searchers.test_rerank import BM25, DOCS, SMALL, results, write_candidates

from colmodern.config.load import load_eval_config
from colmodern.config.sweep import load_sweeps
from colmodern.errors import ConfigError, DataError
from colmodern.evaluation.trec import read_run
from colmodern.fusion import fuse
from colmodern.pipeline.evaluate.report import headline
from colmodern.pipeline.open.artifacts import stores_of
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.open.job import load
from colmodern.pipeline.plan.plan import make_plan
from colmodern.pipeline.sweep.sweep import run_sweep
from colmodern.progress import Silent

Config = Callable[..., Path]
HYBRID = f"index: {{kind: hybrid, of: [{BM25}, plaid], depth: 4}}\n"


@pytest.mark.parametrize("fusion", ["rrf", "weighted", "interleave"])
def test_results_are_those_of_the_fused_runs(eval_config: Config, fusion: str) -> None:
    path = eval_config(extra=SMALL)
    parts = []
    for name, index in (("a", BM25), ("b", "{kind: plaid}")):
        part, _ = run(path, f"index={index}", f"name={name}", "search.k=4", "measures=[R@3]")
        parts.append(results(part.folder))
    hybrid, _ = run(eval_config(extra=HYBRID + SMALL), f"index.fusion={fusion}")
    expected = fuse(parts, 3, fusion=fusion)
    for query_id, ranking in results(hybrid.folder).items():
        assert [d for d, _ in ranking] == [d for d, _ in expected[query_id]]
    assert [stage.name for stage in hybrid.stages] == ["bm25", "plaid", "hybrid"]
    assert hybrid.stages[0].per_query <= hybrid.stages[1].per_query == 4
    assert hybrid.facts["fusion"]["searches"] == ["bm25", "plaid"]
    metrics = json.loads((hybrid.folder / "metrics.json").read_text())
    assert metrics["stages"][2]["name"] == "hybrid"
    page = (hybrid.folder / "report.html").read_text()
    assert "Stages of the search" in page
    assert "recall of plaid" in page


def test_runs_are_parts_too_and_finished_parts_are_reused(
    eval_config: Config, tmp_path: Path
) -> None:
    candidates = {"q1": ["d2", "unknown", "d4"], "q2": ["d4", "d2"], "q3": ["d6"]}
    first = write_candidates(tmp_path / "first.trec", candidates)
    index = f"index={{kind: hybrid, of: [{first}, {BM25}, exact, {first}], fusion: interleave}}"
    result, _ = run(eval_config(extra=SMALL), index)
    assert result.facts["fusion"]["searches"] == ["first.trec 1", "bm25", "exact", "first.trec 2"]
    assert [doc_id for doc_id, _ in results(result.folder)["q1"]][:2] == ["d2", "d1"]
    assert "unknown" not in (result.folder / "run.trec").read_text()
    again, _ = run(eval_config(extra=SMALL), index.replace("interleave", "rrf"))
    assert again.timings["search bm25"].reused
    assert again.timings["search exact"].reused


def test_searches_of_words_and_runs_encode_nothing(eval_config: Config, tmp_path: Path) -> None:
    first = tmp_path / "first.trec"
    write_candidates(first, {"q1": ["d2", "x", "d4"], "q2": ["d4", "x"], "q3": ["d6"]})
    nested = f"{{kind: hybrid, of: [{BM25}, {first}], depth: 4}}"
    model = f"encoder.model={tmp_path / 'nowhere'}"
    for number, second in enumerate((first, BM25, nested)):
        index = f"index={{kind: hybrid, of: [{first}, {second}], depth: 4}}"
        words, _ = run(eval_config(extra=SMALL), index, model, f"name=words{number}")
        assert not any(name.startswith("encode") for name in words.timings)
        assert (words.facts["documents"], words.facts["tokens"]) == (6, 0)
        found = results(words.folder)["q1"]
        assert {"d2", "d4"} <= {doc_id for doc_id, _ in found}
        assert "x" not in {doc_id for doc_id, _ in found}
    assert not list(tmp_path.glob("runs/.cache/documents-*/shard-*"))
    queries = stores_of(tmp_path / "runs" / "words0")["queries"]
    assert (queries.n_docs, queries.n_tokens) == (3, 0)


def test_a_hybrid_of_runs_depends_on_the_collection(
    eval_config: Config, beir: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first.trec"
    write_candidates(first, {"q1": ["d2", "d4"], "q2": ["d4", "d2"], "q3": ["d6"]})
    index = f"index={{kind: hybrid, of: [{first}, {first}], depth: 4}}"
    before, _ = run(eval_config(extra=SMALL), index)
    assert [doc_id for doc_id, _ in results(before.folder)["q1"]] == ["d2", "d4"]
    lines = (beir / "corpus.jsonl").read_text().splitlines(keepends=True)
    (beir / "corpus.jsonl").write_text("".join(line for line in lines if '"d2"' not in line))
    after, _ = run(eval_config(extra=SMALL), index, "name=after")
    assert [doc_id for doc_id, _ in results(after.folder)["q1"]] == ["d4"]


def test_documents_of_a_run_that_the_collection_lacks_are_counted_or_refused(
    eval_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = tmp_path / "first.trec"
    index = f"index={{kind: hybrid, of: [{first}, {BM25}]}}"
    write_candidates(first, {"q1": ["d2", "x"], "q2": ["d4", "x"], "q3": ["y"]})
    run(eval_config(extra=SMALL), index)
    lacks = "the collection lacks its document 'x' (2 such of 4); they are left out"
    assert f"index.of.0={first}: {lacks}" in caplog.text
    write_candidates(first, {query_id: ["x", "y"] for query_id in ("q1", "q2", "q3")})
    with pytest.raises(DataError, match=r"index\.of\.0=.*none of its documents is in the coll"):
        run(eval_config(extra=SMALL), index)


def test_weights_are_tuned_on_another_split(eval_config: Config, beir: Path) -> None:
    path = eval_config(extra=HYBRID + SMALL)
    (beir / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq4\td4\t1\n")
    tuned, said = run(path, "index.tune_split=dev", "index.fusion=weighted", "name=tuned")
    facts = tuned.facts["fusion"]
    assert facts["tuned"]["split"] == "dev"
    assert facts["tuned"]["queries"] == 1
    assert facts["tuned"]["value"] >= facts["tuned"]["with_equal_weights"]
    assert sum(facts["weights"]) == pytest.approx(1)
    assert any(note.startswith("weights tuned on 1 queries of dev: bm25 ") for note in said)
    assert "encode queries of dev" in tuned.timings
    same, _ = run(path, f"index.weights={facts['weights']}", "index.fusion=weighted", "name=given")
    assert results(same.folder) == results(tuned.folder)


def test_weights_are_never_tuned_on_what_is_evaluated(
    eval_config: Config, beir: Path, tmp_path: Path
) -> None:
    path = eval_config(extra=HYBRID + SMALL)
    with pytest.raises(ConfigError, match="tune_split is test, which results are reported on"):
        run(path, "index.tune_split=test")
    (beir / "qrels" / "dev.tsv").write_text((beir / "qrels" / "test.tsv").read_text())
    with pytest.raises(ConfigError, match="3 of the evaluated queries, such as 'q1'"):
        run(path, "index.tune_split=dev")
    with pytest.raises(DataError, match=r"index\.tune_split=train: no judgments .*train\.tsv"):
        run(path, "index.tune_split=train")
    assert not list(
        tmp_path.glob("runs/.cache/documents-*")
    )  # refused before documents are encoded


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("of: [bm25]", "index.of: .*at least 2"),
        ("of: [bm25, plaid], weights: [1]", "weights has 1 numbers for 2 searches"),
        ("of: [bm25, plaid], weights: [0, 0]", "numbers from 0, not all of them 0"),
        ("weights: [1, 2], fusion: interleave", "interleave has no weights"),
        ("weights: [1, 2], tune_split: dev", "given or tuned"),
        ("of: [bm25, {kind: none}]", "'none'} is no first stage; give bm25, plaid, exact, sharded"),
        ("of: [bm25, {kind: rerank, depth: 9}]", r"of.1.depth=9 is below depth=200, the documents"),
        ("of: [bm25, {kind: plaid, n_candidates: 9}]", r"of.1.n_candidates=9 is below depth=200"),
        ("of: [bm25, {kind: hybrid, tune_split: dev}]", "only the outermost search tunes weights"),
        ("of: [bm25, {kind: plaid, nbit: 2}]", "index.of.1.nbit: unknown key .*'nbits'"),
        ("depth: 50", r"index\.depth=50 is below search\.k=100"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    eval_config: Config, settings: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_eval_config(eval_config(extra=f"index: {{kind: hybrid, {settings}}}\n"))


def test_a_run_that_is_missing_is_refused_before_all_work(
    eval_config: Config, tmp_path: Path
) -> None:
    index = f"index={{kind: hybrid, of: [{BM25}, none.trec]}}"
    with pytest.raises(ConfigError, match=r"index\.of\.1=none\.trec: there is no such file"):
        run(eval_config(extra=SMALL), index)
    assert not (tmp_path / "runs").exists()


def test_a_plan_and_a_sweep_have_its_parts(eval_config: Config) -> None:
    path = eval_config(extra=HYBRID + SMALL)
    job = load(load_eval_config(path), LoadedEncoders(), progress=Silent())
    plan = make_plan(job, timed=True, progress=Silent())
    stages = ["build BM25 index", "search bm25", "build index", "search plaid", "search"]
    assert list(plan.memory) == list(plan.seconds) == ["encode", *stages]
    [config] = load_sweeps([eval_config(extra=HYBRID + SMALL + "sweep: {depth: [3, 6]}\n")])
    sweep, _ = run_sweep(config)
    assert [point.settings["depth"] for point in sweep.points] == [3, 6]


def test_the_time_of_a_query_is_that_of_all_its_searches(eval_config: Config) -> None:
    parts = f"[{BM25}, {{kind: rerank, candidates: {BM25}, depth: 4}}]"
    index = f"index: {{kind: hybrid, of: {parts}, depth: 4}}\n"
    result, _ = run(eval_config(extra=index + SMALL))
    stages = ("search bm25", "search rerank: find candidates", "search rerank", "search")
    seconds = sum(result.timings[stage].seconds for stage in stages)
    rate = next(figure.value for figure in headline(result) if figure.label == "queries / s")
    assert rate == f"{result.timings['search'].items / seconds:,.1f}"
    path = eval_config(extra=index + SMALL + "sweep: {depth: [4]}\n")
    [config] = load_sweeps([path], ["name=swept"])
    sweep, _ = run_sweep(config)
    before = sum(result.timings[stage].seconds for stage in stages[:-1])
    assert sweep.points[0].latency_ms[0] > before / result.timings["search"].items * 1e3


@pytest.mark.parametrize("candidates", ["plaid", "exact"])
@pytest.mark.parametrize("scorer", ["exact", "plaid"])
def test_candidates_come_from_an_index_and_are_scored_by_either(
    eval_config: Config, candidates: str, scorer: str
) -> None:
    path = eval_config(extra=SMALL)
    index = (
        f"index={{kind: rerank, candidates: {candidates}, depth: 6, scorer: {scorer}, nbits: 8}}"
    )
    result, _ = run(path, index)
    exact, _ = run(path, "name=exact", "search.k=6")
    truth = read_run(exact.folder / "run.trec")
    for query_id, ranking in results(result.folder).items():
        scores = dict(truth[query_id])
        assert dict(ranking) == pytest.approx(
            {d: scores[d] for d, _ in ranking}, abs=1e-4 if scorer == "exact" else 0.1
        )
        if scorer == "exact":
            assert [d for d, _ in ranking] == [d for d, _ in truth[query_id][:3]]
    [first, last] = result.stages
    assert (first.name, first.recall, first.per_query) == (candidates, 1.0, len(DOCS))
    assert last.name == "rerank"
