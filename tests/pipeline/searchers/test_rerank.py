"""Evaluations that score the candidates of another search."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from pipeline.evaluate.test_run import run

from colmodern.config.index import RerankIndexConfig
from colmodern.config.load import load_eval_config
from colmodern.config.suite import load_suite
from colmodern.config.sweep import load_sweeps
from colmodern.errors import ConfigError, DataError, MissingExtraError
from colmodern.evaluation.trec import read_run, write_run
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.evaluate.suite import run_suite
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.open.job import load
from colmodern.pipeline.plan.plan import make_plan
from colmodern.pipeline.plan.view import stages_table
from colmodern.pipeline.sample import take_sample
from colmodern.pipeline.searchers.base import SearchTexts, Workload
from colmodern.pipeline.searchers.registry import make_searcher
from colmodern.pipeline.sweep.sweep import run_sweep
from colmodern.progress import Silent
from colmodern.types import ScoredDoc

DOCS = ("d1", "d2", "d3", "d4", "d5", "d6")
BM25 = "{kind: bm25, stemmer: null}"  # without the package that stems
SMALL = "measures: [nDCG@3, R@3]\nsearch: {k: 3}\n"


def write_candidates(path: Path, candidates: Mapping[str, Sequence[str]]) -> Path:
    scored = {
        query_id: [ScoredDoc(doc_id, float(-rank)) for rank, doc_id in enumerate(doc_ids)]
        for query_id, doc_ids in candidates.items()
    }
    write_run(path, scored, tag="first")
    return path


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """Every document as a candidate of every judged query."""
    return write_candidates(tmp_path / "all.trec", dict.fromkeys(("q1", "q2", "q3"), DOCS))


def results(folder: Path) -> dict[str, list[ScoredDoc]]:
    return read_run(folder / "run.trec")


def test_all_documents_as_candidates_give_the_exact_run(
    eval_config: Callable[..., Path], everything: Path
) -> None:
    path = eval_config(extra=SMALL)
    reranked, _ = run(path, f"index={{kind: rerank, candidates: {everything}}}", "name=rerank")
    exact, _ = run(path, "name=exact")
    assert reranked.evaluation == exact.evaluation
    assert reranked.fidelity is not None
    assert reranked.fidelity.overlap["overlap@3"] == 1
    assert not reranked.losses
    for query_id, found in results(reranked.folder).items():
        truth = results(exact.folder)[query_id]
        assert [doc_id for doc_id, _ in found] == [doc_id for doc_id, _ in truth]
        assert [s for _, s in found] == pytest.approx([s for _, s in truth], abs=1e-5)


def test_only_candidates_are_results_and_what_they_lack_is_lost(
    eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    candidates = {"q1": ["d2", "d4"], "q2": ["d4", "d2"], "q3": ["d6", "unknown"]}
    first = write_candidates(tmp_path / "first.trec", candidates)
    index = f"index={{kind: rerank, candidates: {first}, depth: 3}}"
    result, _ = run(eval_config(extra=SMALL), index)
    for query_id, found in results(result.folder).items():
        assert {doc_id for doc_id, _ in found} == set(candidates[query_id]) - {"unknown"}
    counts = {"source": "first.trec", "queries": 3, "per_query": 2.0, "unknown_documents": 1}
    assert result.facts["candidates"] == counts
    assert [(loss.document.doc_id, loss.stage) for loss in result.losses] == [
        ("d1", "not a candidate")
    ]
    stored = json.loads((result.folder / "fidelity.json").read_text())
    assert stored["lost"]["by_stage"]["@3"] == {"not a candidate": 1, "rounding": 0}
    assert "it is not among the first 3 of the run" in (result.folder / "report.html").read_text()


def test_unknown_documents_take_no_place_of_known_candidates(
    eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    documents = ["unknown", "d2", "gone", "d4", "d1", "d6"]
    first = write_candidates(tmp_path / "first.trec", dict.fromkeys(("q1", "q2", "q3"), documents))
    index = f"index={{kind: rerank, candidates: {first}, depth: 3}}"
    result, _ = run(eval_config(extra=SMALL), index)
    for found in results(result.folder).values():
        assert {doc_id for doc_id, _ in found} == {"d2", "d4", "d1"}


def test_bm25_finds_candidates_once(eval_config: Callable[..., Path]) -> None:
    path = eval_config(extra=f"index: {{kind: rerank, candidates: {BM25}}}\n" + SMALL)
    first, _ = run(path)
    assert first.facts["candidates"]["source"] == "bm25"
    assert [doc_id for doc_id, _ in results(first.folder)["q2"]] == ["d2"]  # shares a word
    assert not first.timings["find candidates"].reused
    again, said = run(path, "search.k=2", "measures=[R@2]")
    assert again.timings["find candidates"].reused
    assert any(note.startswith("find candidates: reused") for note in said)


def test_another_run_of_candidates_is_searched_again(
    eval_config: Callable[..., Path], everything: Path, tmp_path: Path
) -> None:
    path = eval_config(extra=f"index: {{kind: rerank, candidates: {everything}}}\n" + SMALL)
    members = load_suite([path])
    [first] = run_suite(members)
    [same] = run_suite(members)
    assert (first.reused, same.reused) == (False, True)
    write_candidates(everything, dict.fromkeys(("q1", "q2", "q3"), DOCS[::-1][:3]))
    [other] = run_suite(members)
    assert not other.reused
    assert other.error is None


@pytest.mark.parametrize(
    ("candidates", "error", "message"),
    [
        (
            {"q3": DOCS},
            DataError,
            r"no candidates for query 'q1' \(2 such of 3 queries",
        ),
        ({q: ["x"] for q in ("q1", "q2", "q3")}, DataError, "none of its documents is in the coll"),
    ],
)
def test_a_run_of_other_queries_or_documents_is_refused(
    eval_config: Callable[..., Path],
    tmp_path: Path,
    candidates: Mapping[str, Sequence[str]],
    error: type[Exception],
    message: str,
) -> None:
    path = write_candidates(tmp_path / "wrong.trec", candidates)
    with pytest.raises(error, match=rf"^index\.candidates={path}: .*{message}"):
        run(eval_config(extra=f"index: {{kind: rerank, candidates: {path}}}\n" + SMALL))


def test_queries_without_candidates_get_no_results_and_are_counted(
    eval_config: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_candidates(tmp_path / "short.trec", {"q1": DOCS, "q3": DOCS})
    result, _ = run(eval_config(extra=f"index: {{kind: rerank, candidates: {path}}}\n" + SMALL))
    assert set(results(result.folder)) == {"q1", "q3"}
    assert result.facts["candidates"]["queries"] == 2
    assert "no candidates for query 'q2' (1 such of 3 queries); such queries get" in caplog.text


def test_what_cannot_be_read_is_refused_before_all_work(
    eval_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = eval_config(extra=f"index: {{kind: rerank, candidates: {BM25}}}\n" + SMALL)
    with pytest.raises(ConfigError, match=r"index\.candidates=.*no-run\.trec: there is no such f"):
        run(path, f"index.candidates={tmp_path / 'no-run.trec'}")
    with pytest.raises(ConfigError, match=r"index\.candidates=.*: not a file; give a TREC run"):
        run(path, f"index.candidates={tmp_path}")
    broken = tmp_path / "broken.trec"
    broken.write_text("q1 Q0 d1\n")
    with pytest.raises(DataError, match=r"index\.candidates: .*broken\.trec:1: "):
        run(path, f"index.candidates={broken}")
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r"colmodern\[bm25\]"):
        run(path)
    assert not (tmp_path / "runs" / "small").exists()


def test_settings_that_do_not_fit_are_named(eval_config: Callable[..., Path]) -> None:
    path = eval_config(extra="index: {kind: rerank}\n")
    with pytest.raises(ConfigError, match=r"index\.depth=10 is below search\.k=100"):
        load_eval_config(path, ["index.depth=10"])
    with pytest.raises(ConfigError, match=r"depth=1000 .*; raise it, or lower search\.k$"):
        load_eval_config(path, ["search.k=2000"])
    with pytest.raises(
        ConfigError, match=r"index\.device: choose auto, .*\(given: 'cuda:0,cuda:1'\)"
    ):
        load_eval_config(path, ["index.device=cuda:0,cuda:1"])
    with pytest.raises(ConfigError, match=r"sweep\.nbits: an index of kind rerank has no such"):
        load_sweeps([eval_config(extra="index: {kind: rerank}\nsweep: {nbits: [1]}\n")])
    with pytest.raises(
        ConfigError, match=r"sweep\.n_candidates: .*; it is now called sweep\.depth"
    ):
        load_sweeps([eval_config(extra="index: {kind: rerank}\nsweep: {n_candidates: [200]}\n")])


def test_the_depth_is_taken_by_its_old_name(
    eval_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    config = load_eval_config(eval_config(extra="index: {kind: rerank, n_candidates: 200}\n"))
    assert isinstance(config.index, RerankIndexConfig)
    assert config.index.depth == 200
    assert load_eval_config(eval_config(extra="index: {kind: rerank}\n")).index.most_results == 1000


def test_the_query_itself_is_dropped_after_reranking(
    eval_config: Callable[..., Path], beir: Path, tmp_path: Path
) -> None:
    own = write_candidates(tmp_path / "own.trec", {"q1": ["q1", "d1"], "q2": DOCS, "q3": DOCS})
    with (beir / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "q1", "text": "how to parse a date"}\n')
    index = f"index={{kind: rerank, candidates: {own}}}"
    result, _ = run(eval_config(extra=SMALL), index, "dataset.drop_self_matches=true")
    assert [doc_id for doc_id, _ in results(result.folder)["q1"]] == ["d1"]


def test_a_plan_has_its_stages(eval_config: Callable[..., Path], everything: Path) -> None:
    found = ["build BM25 index", "find candidates"]
    for candidates, stages in ((everything, []), (BM25, found)):
        path = eval_config(extra=f"index: {{kind: rerank, candidates: {candidates}}}\n" + SMALL)
        job = load(load_eval_config(path), LoadedEncoders(), progress=Silent())
        plan = make_plan(job, timed=True, progress=Silent())
        assert (
            list(plan.memory) == list(plan.seconds) == ["encode", *stages, "search", "exact search"]
        )
        assert all(time.value > 0 for time in plan.seconds.values())
        assert plan.nbits is None
        assert len(stages_table(plan).rows) == len(plan.memory) + 1
    run_eval(load_eval_config(path, ["max_memory=100G"]))
    searcher = make_searcher(RerankIndexConfig(candidates=str(everything)), "cpu")
    assert searcher.smallest == {"index.exact_max_memory": "64M"}


def test_a_sweep_over_candidates_times_each_query(
    eval_config: Callable[..., Path], everything: Path
) -> None:
    grid = "sweep: {depth: [3, 6], pool_factor: [1, 2]}\n"
    index = f"index: {{kind: rerank, candidates: {everything}}}\n"
    [config] = load_sweeps([eval_config(extra=index + SMALL + grid)])
    sweep, folder = run_sweep(config)
    assert [point.settings["depth"] for point in sweep.points] == [3, 6, 3, 6]
    assert not any(point.is_exact for point in sweep.points)
    points = json.loads((folder / "sweep.json").read_text())["points"]
    assert {point["kind"] for point in points} == {"rerank"}
    assert points[1]["overlap@3"] == 1


def test_each_point_of_a_sweep_has_its_own_candidates_of_bm25(
    eval_config: Callable[..., Path], beir: Path
) -> None:
    with (beir / "corpus.jsonl").open("a") as corpus:
        for number in range(6):
            corpus.write(f'{{"_id": "x{number}", "text": "parse{" date" * number} {number}"}}\n')
    grid = "sweep: {depth: [3, 9]}\n"
    path = eval_config(extra=f"index: {{kind: rerank, candidates: {BM25}}}\n" + SMALL + grid)
    [config] = load_sweeps([path])
    together, _ = run_sweep(config)
    [alone] = load_sweeps([path], ["sweep.depth=[9]", f"output={beir.parent / 'alone'}"])
    [point] = run_sweep(alone)[0].points
    assert together.points[1].measures == point.measures
    assert together.points[1].measures != together.points[0].measures


def test_no_query_may_have_a_candidate(eval_config: Callable[..., Path], beir: Path) -> None:
    lines = (beir / "queries.jsonl").read_text().splitlines()
    queries = [{**json.loads(line), "text": f"zzz{n}"} for n, line in enumerate(lines)]
    (beir / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    path = eval_config(extra=f"index: {{kind: rerank, candidates: {BM25}}}\n" + SMALL)
    result, _ = run(path)
    assert set(result.evaluation.mean.values()) == {0}
    assert result.facts["candidates"]["queries"] == 0


def test_facts_and_plans_count_the_candidates_of_the_searched_queries(
    eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    few = {"q1": DOCS[:2], "q2": DOCS[:2], "q3": DOCS[:2], "other": ["x", *DOCS]}
    candidates = write_candidates(tmp_path / "few.trec", few)
    path = eval_config(extra=f"index: {{kind: rerank, candidates: {candidates}}}\n" + SMALL)
    counts = {"source": "few.trec", "queries": 3, "per_query": 2.0, "unknown_documents": 0}
    assert run(path)[0].facts["candidates"] == counts

    job = load(load_eval_config(path), LoadedEncoders(), progress=Silent())
    sample = take_sample(job.dataset, job.encoder, job.config.dataset, size=10, seed=0)
    texts = SearchTexts(job.dataset.corpus, job.dataset.queries, job.config.dataset)
    all_docs = write_candidates(tmp_path / "all.trec", dict.fromkeys(("q1", "q2", "q3"), DOCS))

    def planned(source: Path) -> float:
        config = RerankIndexConfig(candidates=str(source))
        workload = Workload(sample, dim=128, item=2, k=3)
        return make_searcher(config, "cpu", texts).memory(workload)["search"]

    assert planned(candidates) < planned(all_docs)
