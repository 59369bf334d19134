"""Records that packages exchange: results stay lists, and what ends a cell is short."""

from __future__ import annotations

import json
import pickle

import pytest

from colmodern import load_dataset
from colmodern.evaluation.measures import Evaluation
from colmodern.types import (
    BatchResults,
    Dataset,
    Hit,
    RankedDoc,
    RankedHit,
    Results,
    ScoredDoc,
    Span,
)

HITS = Results(ScoredDoc(f"d{i}", 100.0 - i) for i in range(100))


def test_results_are_a_list_in_every_way() -> None:
    plain = list(HITS)
    assert isinstance(HITS, list)
    assert plain == HITS
    assert plain == pickle.loads(pickle.dumps(HITS))
    assert type(pickle.loads(pickle.dumps(HITS))) is Results
    assert json.dumps(HITS) == json.dumps(plain)
    assert (HITS[0], HITS[-1], len(HITS)) == (plain[0], plain[-1], 100)
    assert sorted(HITS, key=lambda hit: hit.doc_id)[0] == ScoredDoc("d0", 100.0)
    assert HITS[:3] == plain[:3]
    assert type(HITS[:3]) is Results
    joined = HITS + plain
    assert joined == [*plain, *plain]


def test_a_batch_is_a_list_of_lists() -> None:
    batch = BatchResults([HITS, Results()])
    assert batch == [list(HITS), []]
    assert batch == pickle.loads(pickle.dumps(batch))
    assert json.loads(json.dumps(batch))[0][0] == ["d0", 100.0]


def test_a_long_list_is_printed_by_its_beginning() -> None:
    assert repr(HITS[:2]) == repr(list(HITS[:2]))
    assert repr(HITS).startswith("[ScoredDoc(doc_id='d0', score=100.0), ")
    assert repr(HITS).endswith("ScoredDoc(doc_id='d9', score=91.0), ... 90 more]")
    ranked = Results(RankedDoc(f"d{i}", 0.0, i + 1) for i in range(1011))
    assert repr(ranked).endswith(", ... 1,001 more]")
    assert repr(BatchResults([HITS] * 50)).endswith(", ... 48 more]")


@pytest.mark.parametrize("max_queries", [2, None])
def test_a_data_set_is_printed_on_a_line(max_queries: int | None) -> None:
    dataset = load_dataset("stdlib", max_queries=max_queries)
    n_queries, more = len(dataset.queries), ", ..." if max_queries is None else ""
    ids = ", ".join(map(repr, list(dataset.queries)[:3]))
    n_judgments = sum(len(grades) for grades in dataset.qrels.values())
    assert repr(dataset) == (
        f"Dataset('stdlib', n_docs={len(dataset.corpus)}, n_queries={n_queries}, "
        f"n_judgments={n_judgments}, query_ids=[{ids}{more}])"
    )
    assert repr(dataset.corpus) == f"MemoryCorpus(n_docs={len(dataset.corpus)})"
    assert isinstance(dataset, Dataset)


def test_an_evaluation_is_printed_by_its_means() -> None:
    per_query = {f"q{i}": {"nDCG@10": 0.5} for i in range(300)}
    assert (
        repr(Evaluation({"nDCG@10": 0.5}, per_query)) == "Evaluation(nDCG@10=0.5000, n_queries=300)"
    )


@pytest.mark.parametrize(
    "hit", [Hit("d", 2.0, [Span(0, 4, 1.5)]), RankedHit("d", 2.0, 1, [Span(0, 4, 1.5)])]
)
def test_a_hit_unpacks_and_compares_as_before_and_keeps_its_spans(hit: Hit | RankedHit) -> None:
    doc_id, score, *rank = hit
    assert hit == (doc_id, score, *rank) == ("d", 2.0, *([1] if rank else []))
    assert hit.spans == ((0, 4, 1.5),)
    again = pickle.loads(pickle.dumps(hit))
    assert (type(again), again, again.spans) == (type(hit), hit, hit.spans)
    assert hit._replace(score=1.0).spans == hit.spans
    assert repr(hit).endswith("spans=(Span(start=0, end=4, score=1.5),))")
