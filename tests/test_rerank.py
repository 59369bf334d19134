from __future__ import annotations

from pathlib import Path

import oracles
import pytest
from conftest import CORPUS, SCORE_TOLERANCE

from colmodern import Encoder, Reranker
from colmodern.errors import InputError

TEXTS = [document["text"] for document in CORPUS]
QUERY = "how to parse a date"


@pytest.fixture(scope="module")
def ranker(pylate_bert: Path) -> Reranker:
    return Reranker(pylate_bert)


def scores(encoder: Encoder, query: str, texts: list[str]) -> dict[str, float]:
    rows = encoder.encode_queries([query])[0].tolist()
    documents = encoder.encode_documents(texts)
    return {str(i): oracles.maxsim(rows, text.tolist()) for i, text in enumerate(documents)}


def test_texts_are_ranked_by_maxsim_with_positions_as_ids(ranker: Reranker) -> None:
    hits = ranker.rank(QUERY, TEXTS, k=4)
    truth = scores(ranker.encoder, QUERY, TEXTS)
    assert [hit.doc_id for hit in hits] == oracles.ranking(truth, 4)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    for hit in hits:
        assert hit.score == pytest.approx(truth[hit.doc_id], abs=SCORE_TOLERANCE["float32"])


def test_int8_documents_have_nearly_the_same_scores(ranker: Reranker) -> None:
    hits = Reranker(ranker.encoder, precision="int8").rank(QUERY, TEXTS)
    truth = scores(ranker.encoder, QUERY, TEXTS)
    n_tokens = len(ranker.encoder.encode_queries([QUERY])[0])
    assert len(hits) == len(TEXTS)
    for hit in hits:
        assert hit.score != truth[hit.doc_id]
        assert hit.score == pytest.approx(truth[hit.doc_id], abs=0.006 * n_tokens)


def test_pairs_keep_their_ids_and_all_come_back_without_k(ranker: Reranker) -> None:
    hits = ranker.rank(QUERY, [(document["_id"], document["text"]) for document in CORPUS])
    assert sorted(hit.doc_id for hit in hits) == [document["_id"] for document in CORPUS]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_batch_equals_one_at_a_time(ranker: Reranker) -> None:
    queries, candidates = [QUERY, "wing lift", "names"], [TEXTS[:3], TEXTS[2:], []]
    batch = ranker.rank_batch(queries, candidates, k=2)
    for query, texts, hits in zip(queries, candidates, batch, strict=True):
        alone = ranker.rank(query, texts, k=2)
        assert [(hit.doc_id, hit.rank) for hit in hits] == [(hit.doc_id, hit.rank) for hit in alone]
    assert batch[2] == []


def test_equal_texts_are_ordered_by_id(ranker: Reranker) -> None:
    hits = ranker.rank(QUERY, [("b", "the same"), ("a", "the same"), ("c", "the same")])
    assert [hit.doc_id for hit in hits] == ["a", "b", "c"]


def test_an_encoder_can_be_shared(ranker: Reranker) -> None:
    assert Reranker(ranker.encoder).encoder is ranker.encoder
    with pytest.raises(InputError, match="come too late"):
        Reranker(ranker.encoder, document_length=10)


def test_options_reach_the_encoder(pylate_bert: Path) -> None:
    assert Reranker(pylate_bert, document_length=10).encoder.settings.document_length == 10


@pytest.mark.parametrize(
    ("query", "documents", "k", "message"),
    [
        (QUERY, TEXTS, 0, "k=0"),
        (" ", TEXTS, 1, "query 0 has no text"),
        (QUERY, "one text", 1, "documents is one string"),
        (QUERY, [("a", "b", "c")], 1, r"documents\[0\] is"),
        (QUERY, [("a", None)], 1, r"documents\[0\] is"),
        (QUERY, [7], 1, r"documents\[0\] is 7"),
        (QUERY, [("a", "x"), ("a", "y")], 1, "repeated ids"),
    ],
)
def test_bad_arguments_are_refused(ranker: Reranker, query, documents, k, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ranker.rank(query, documents, k)


def test_queries_and_candidates_must_match(ranker: Reranker) -> None:
    with pytest.raises(InputError, match="2 queries, but candidates for 1"):
        ranker.rank_batch(["a", "b"], [TEXTS])


def test_long_candidates_are_split_and_what_is_cut_is_counted(pylate_bert: Path) -> None:
    cut = Reranker(pylate_bert, document_length=8)
    split = Reranker(pylate_bert, document_length=8, overflow="split", overlap=1)
    text = "the lift of a wing in the flow, and then how to parse a date"
    [far], [whole] = cut.rank(QUERY, [text]), split.rank(QUERY, [text])
    assert whole.score > far.score  # what answers the query stands past the cut
    assert cut.facts["n_truncated"] == 1
    assert cut.facts["n_cut_tokens"] > 0
    assert (split.facts["n_truncated"], split.facts["n_split"]) == (0, 1)
