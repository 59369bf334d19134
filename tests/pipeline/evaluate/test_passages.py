"""Evaluations that rank documents by their passages, with each kind of index."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from oracles import maxsim

from colmodern import run_eval
from colmodern.config.load import load_eval_config
from colmodern.errors import ConfigError
from colmodern.evaluation.trec import read_run
from colmodern.pipeline.open.artifacts import stores_of
from colmodern.pipeline.result import EvalResult

SPLIT = ("encoder.overflow=split", "encoder.document_length=10", "encoder.overlap=2")
KINDS = {
    "exact": ("index={kind: exact}",),
    "plaid": ("index={kind: plaid, nbits: 8, codec: residual}",),
    "sharded": ("index={kind: sharded, shards: 2, nbits: 8, codec: residual}",),
    "rerank": ("index={kind: rerank, candidates: exact, depth: 100}",),
    "rerank, compressed": (
        "index={kind: rerank, candidates: plaid, scorer: plaid, nbits: 8, depth: 100}",
    ),
}

Run = dict[str, list[tuple[str, float, int]]]  # query -> document, score, its best passage


def evaluated(path: Path, *overrides: str) -> EvalResult:
    return run_eval(load_eval_config(path, [*SPLIT, *overrides]))


def by_a_loop(result: EvalResult, rank: str) -> Run:
    """The ranking that loops over all stored passages give."""
    stores = stores_of(result.folder)
    documents, queries = stores["documents"], stores["queries"]
    run: Run = {}
    for query_id, query in zip(queries.doc_ids, queries.to_memory(), strict=True):
        scores: dict[str, list[float]] = {}
        for passage, values in zip(documents.doc_ids, documents.to_memory(), strict=True):
            doc_id, number = passage.split("#")
            assert int(number) == len(scores.setdefault(doc_id, []))
            scores[doc_id].append(maxsim(query, np.asarray(values, np.float32)))
        total = max if rank == "best" else math.fsum
        ranked = [(doc_id, total(own), int(np.argmax(own))) for doc_id, own in scores.items()]
        run[query_id] = sorted(ranked, key=lambda document: (-document[1], document[0]))
    return run


@pytest.mark.parametrize("rank", ["best", "sum"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_holds_documents_and_another_their_best_passages(
    eval_config: Callable[..., Path], kind: str, rank: str
) -> None:
    result = evaluated(eval_config(), f"search.passages={rank}", *KINDS[kind])
    run = read_run(result.folder / "run.trec")
    passages = read_run(result.folder / "passages.trec")
    expected = by_a_loop(result, rank)
    assert run.keys() == expected.keys()
    tolerance = 2e-4 if "exact" in kind or kind == "rerank" else 0.2
    for query_id, documents in expected.items():
        scores = {doc_id: score for doc_id, score, _ in documents}
        assert len(run[query_id]) == len(documents) == 6
        for hit, passage in zip(run[query_id], passages[query_id], strict=True):
            doc_id, number = passage.doc_id.split("#")
            assert (hit.doc_id, hit.score) == (doc_id, passage.score)
            assert hit.score == pytest.approx(scores[doc_id], abs=tolerance)
            if kind == "exact" and doc_id != "d6":  # its passages are alike
                assert int(number) == next(d[2] for d in documents if d[0] == doc_id)
    facts = json.loads((result.folder / "metrics.json").read_text())
    assert facts["documents"] == 6
    assert facts["passages"] == stores_of(result.folder)["documents"].n_docs > 6
    page = (result.folder / "report.html").read_text()
    assert ", passage " in page
    assert result.evaluation.mean["nDCG@10"] > 0


def test_ranks_share_the_embeddings_and_not_the_results(eval_config: Callable[..., Path]) -> None:
    joined = evaluated(eval_config())
    best = evaluated(eval_config(), "search.passages=best", "name=best")
    total = evaluated(eval_config(), "search.passages=sum", "name=sum")
    assert not best.timings["encode documents"].reused
    assert total.timings["encode documents"].reused
    assert not total.timings["search"].reused
    assert not (joined.folder / "passages.trec").exists()
    again = evaluated(eval_config(), "search.passages=best", "name=again")
    assert again.timings["search"].reused
    for name in ("run.trec", "passages.trec"):
        assert (again.folder / name).read_bytes() == (best.folder / name).read_bytes()


def test_mean_scores_are_of_the_same_passages(eval_config: Callable[..., Path]) -> None:
    whole = evaluated(eval_config(), "search.passages=best", "name=sum")
    mean = evaluated(eval_config(), "search.passages=best", "search.score=mean", "name=mean")
    for name in ("run.trec", "passages.trec"):
        runs = [read_run(result.folder / name) for result in (whole, mean)]
        ids = [{q: [hit.doc_id for hit in hits] for q, hits in run.items()} for run in runs]
        assert ids[0] == ids[1]


def test_filters_and_documents_that_are_left_out_are_documents(
    eval_config: Callable[..., Path], beir: Path
) -> None:
    records = [json.loads(line) for line in (beir / "corpus.jsonl").read_text().splitlines()]
    lines = [json.dumps({**record, "n": number}) for number, record in enumerate(records)]
    (beir / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    for kind in ("exact", "plaid"):
        result = evaluated(
            eval_config(),
            "search.passages=sum",
            "search.filter={n: {gte: 3}}",
            f"index={{kind: {kind}}}",
        )
        run = read_run(result.folder / "run.trec")
        assert {hit.doc_id for hits in run.values() for hit in hits} == {"d4", "d5", "d6"}


def test_fused_searches_rank_documents(eval_config: Callable[..., Path]) -> None:
    pytest.importorskip("bm25s", reason="needs the extra bm25")
    fused = "index={kind: hybrid, of: [bm25, exact], depth: 100}"
    result = evaluated(eval_config(), "search.passages=best", fused)
    run = read_run(result.folder / "run.trec")
    assert {hit.doc_id for hits in run.values() for hit in hits} == {f"d{i}" for i in range(1, 7)}
    assert not (result.folder / "passages.trec").exists()  # a fused document has several bests
    reranked = "index={kind: rerank, candidates: bm25, depth: 100}"
    result = evaluated(eval_config(), "search.passages=best", reranked, "name=reranked")
    run = read_run(result.folder / "run.trec")
    assert [stage.name for stage in result.stages] == ["bm25", "rerank"]
    assert {hit.doc_id for hit in run["q2"]} == {"d2"}  # no other document has its words


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("encoder.overflow=truncate",),
            "passages are the windows of encoder.overflow=split; set that",
        ),
        (("index={kind: bm25}",), "kind bm25 reads whole texts"),
        (
            ("index={kind: sharded, shards: 2}", "cluster={address: local}"),
            "passages are not joined where the shards are listed or on a cluster",
        ),
        (("search.passages=mean",), "search.passages"),
    ],
)
def test_what_has_no_passages_is_refused(
    eval_config: Callable[..., Path], overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_eval_config(eval_config(), [*SPLIT, "search.passages=best", *overrides])
