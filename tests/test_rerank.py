from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import oracles
import pytest
from conftest import CORPUS, SCORE_TOLERANCE

from colmodern import Encoder, Reranker, SpanSettings
from colmodern.errors import InputError
from colmodern.types import RankedHit

TEXTS = [document["text"] for document in CORPUS]
QUERY = "how to parse a date"


@pytest.fixture(scope="module")
def ranker(pylate_bert: Path) -> Reranker:
    return Reranker(pylate_bert)


def scores(encoder: Encoder, query: str, texts: list[str]) -> dict[str, float]:
    tokens = encoder.encode_queries([query])[0].tolist()
    documents = encoder.encode_documents(texts)
    return {str(i): oracles.maxsim(tokens, text.tolist()) for i, text in enumerate(documents)}


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
        (QUERY, "one text", 1, "documents=.* is one string"),
        (QUERY, [("a", "b", "c")], 1, r"documents\[0\] is"),
        (QUERY, [("a", None)], 1, r"documents\[0\] is"),
        (QUERY, [7], 1, r"documents\[0\] is 7"),
        (QUERY, [("a", "x"), ("a", "y")], 1, "repeated ids"),
        (QUERY, {"a", "b"}, 1, "documents is a set, .*; pass a list of texts or"),
        (QUERY, b"one text", 1, "documents=.* is bytes"),
        (QUERY, None, 1, "documents=None; pass a list of texts"),
        (QUERY, np.array("one text"), 1, "pass a list of texts"),
        (QUERY, {"a": "x", 2: "y"}, 1, r"documents\[1\] is \(2, 'y'\)"),
        (QUERY, {"a": "x", "b": None}, 1, r"documents\[1\] is \('b', None\)"),
        (QUERY, ["x", "a\ud83d"], 1, r"documents\[1\] has the text .* half a surrogate pair"),
        (QUERY, [("", "x")], 1, r"doc_ids\[0\] is empty"),
        (QUERY, TEXTS, True, "k=True; pass a whole number"),
        (QUERY, TEXTS, 2.0, r"k=2\.0; pass a whole number"),
        (None, TEXTS, 1, "query=None; pass one text"),
        ([QUERY], TEXTS, 1, r"query=\[.*\]; pass one text"),
        ("a\ud83d", TEXTS, 1, r"queries\[0\] is .* half a surrogate pair"),
    ],
)
def test_bad_arguments_are_refused(ranker: Reranker, query, documents, k, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ranker.rank(query, documents, k)


def test_a_mapping_is_documents_with_their_ids(ranker: Reranker) -> None:
    texts = {document["_id"]: document["text"] for document in CORPUS}
    expected = ranker.rank(QUERY, list(texts.items()))
    assert ranker.rank(QUERY, texts) == expected
    assert ranker.rank_batch([QUERY], [texts]) == [expected]


def test_generators_and_arrays_are_documents_too(ranker: Reranker) -> None:
    expected = ranker.rank(QUERY, TEXTS)
    assert ranker.rank(QUERY, (text for text in TEXTS)) == expected
    assert ranker.rank(np.str_(QUERY), np.array(TEXTS), np.int64(len(TEXTS))) == expected
    assert ranker.rank_batch(iter([QUERY]), iter([TEXTS])) == [expected]


def test_a_pickled_reranker_ranks_the_same(ranker: Reranker) -> None:
    for precision in ("float32", "int8"):
        pickled = pickle.dumps(Reranker(ranker.encoder, precision=precision))
        restored = pickle.loads(pickled)
        assert restored.precision == precision
        expected = Reranker(ranker.encoder, precision=precision).rank(QUERY, TEXTS)
        assert restored.rank(QUERY, TEXTS) == expected


def test_a_reranker_of_nothing_known_is_refused(ranker: Reranker) -> None:
    with pytest.raises(InputError, match="model=None; pass an Encoder, or the name"):
        Reranker(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="precision='int4'; choose one of"):
        Reranker(ranker.encoder, precision="int4")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("queries", "documents", "message"),
    [
        (QUERY, [TEXTS], "queries=.* is one string; pass a list of texts"),
        ({"q": QUERY}, [TEXTS], "queries is a dict, .*; pass a list of texts"),
        ({QUERY}, [TEXTS], "queries is a set, .*; pass a list of texts"),
        (None, [TEXTS], "queries=None; pass a list of texts"),
        ([None], [TEXTS], r"queries\[0\] is None; pass a text"),
        ([QUERY], {"q": TEXTS}, "documents is a dict, .*; pass a list with the candidates of each"),
        ([QUERY], "text", "documents=.* is one string; pass a list with"),
        ([QUERY], ["text"], "documents=.* is one string; pass a list of texts"),
        ([QUERY], [None], "documents=None; pass a list of texts"),
    ],
)
def test_bad_batches_are_refused(
    ranker: Reranker, queries: object, documents: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ranker.rank_batch(queries, documents)  # type: ignore[arg-type]


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


def test_a_reranker_prints_its_model_and_where_it_runs(ranker: Reranker, pylate_bert: Path) -> None:
    expected = (
        f"Reranker({str(pylate_bert)!r}, dim={ranker.encoder.dim}, precision='float32', device="
    )
    assert repr(ranker) == f"{expected}{ranker.encoder.device!r})"


def test_hits_show_the_words_that_matched(ranker: Reranker) -> None:
    texts = {"a": "  Read the file,\r\nthen sort NAMES.", "b": "The wing is heated.", "c": ""}
    plain = ranker.rank("sort names", texts)
    hits = ranker.rank("sort names", texts, spans=SpanSettings(min_share=0))
    assert hits == plain
    assert all(isinstance(hit, RankedHit) for hit in hits)
    for hit in hits:
        edges = [edge for start, end, _ in hit.spans for edge in (start, end)]
        assert edges == sorted(edges)
        text = texts[hit.doc_id]
        for start, end, _ in hit.spans:
            passage = text[start:end]
            assert passage == passage.strip() != ""
            before, after = text[:start][-1:], text[end:][:1]
            assert not (before.isalnum() and passage[0].isalnum())
            assert not (after.isalnum() and passage[-1].isalnum())
        assert sum(span.score for span in hit.spans) <= hit.score + 1e-4
    assert {hit.doc_id: hit.spans for hit in hits}["c"] == ()


def test_pooled_and_split_documents_show_words_too(pylate_bert: Path) -> None:
    ranker = Reranker(pylate_bert, pool_factor=2, overflow="split", document_length=12, overlap=2)
    text = "Open the file and write the value of the vector to the index, then close the file. " * 2
    [hit] = ranker.rank("close the file", [text], spans=True)
    assert hit.spans
    assert max(span.end for span in hit.spans) <= len(text)


def test_mean_scores_are_divided_by_the_query_tokens(pylate_bert: Path) -> None:
    documents = {"a": "the lift of a wing", "b": "a date"}
    summed, mean = Reranker(pylate_bert), Reranker(pylate_bert, score="mean")
    n_tokens = len(summed.encoder.encode_queries(["wing lift"])[0])
    for spans in (False, True):
        pairs = zip(
            summed.rank("wing lift", documents, spans=spans),
            mean.rank("wing lift", documents, spans=spans),
            strict=True,
        )
        for by_sum, by_mean in pairs:
            assert (by_sum.doc_id, by_sum.rank) == (by_mean.doc_id, by_mean.rank)
            assert by_mean.score == pytest.approx(by_sum.score / n_tokens)
            if spans:
                scores = [span.score / n_tokens for span in by_sum.spans]
                assert [span.score for span in by_mean.spans] == pytest.approx(scores)
    with pytest.raises(InputError, match="score='max'; choose one of 'sum', 'mean'"):
        Reranker(pylate_bert, score="max")


def test_cut_queries_are_counted(pylate_bert: Path) -> None:
    ranker = Reranker(pylate_bert, query_length=8)
    ranker.rank_batch(["wing", "date " * 40], [["a"], ["b"]])
    assert ranker.query_facts["n_truncated"] == 1
    assert ranker.query_facts["n_cut_tokens"] > 0
