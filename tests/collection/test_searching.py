"""Searches of a collection: hits with their texts, as an index of its texts finds them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from collection.test_collection import RECORDS, encoder, sentences

from colmodern import Collection, CollectionHit, Encoder, PlaidIndex, Reranker, SpanSettings
from colmodern.errors import InputError

__all__ = ["encoder"]  # the fixture


def test_hits_have_texts_and_passages(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(RECORDS)
    hits = collection.search("restore one file", k=2)
    doc_id, score, rank = hits[0]
    assert (doc_id, rank) == ("backup", 1)
    assert score > hits[1].score
    assert isinstance(hits[0], CollectionHit)
    assert "restore a single file" in hits[0].passages[0]
    assert hits[0].fields["language"] == "en"
    assert hits[0].title == "Backups"
    [titled] = collection.search("cooking", k=1)
    start, end, _ = titled.title_spans[0]
    assert titled.title[start:end] == "Cooking"
    assert not any(hit.spans for hit in collection.search("restore", spans=False))
    [shortest] = collection.search("restore one file", k=1, spans=SpanSettings(max_spans=1))
    assert len(shortest.spans) + len(shortest.title_spans) == 1
    again = pickle.loads(pickle.dumps(hits[0]))
    assert (again, again.text, again.spans) == (hits[0], hits[0].text, hits[0].spans)


@pytest.mark.parametrize(
    ("title", "text"),
    [("", "  The file is lost"), ("A file", "The file is lost"), (" A", ""), ("File ", "\n file")],
)
def test_passages_count_from_text_and_title(
    tmp_path: Path, encoder: Encoder, title: str, text: str
) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add([{"id": "1", "title": title, "text": text}])
    [hit] = collection.search("file A", k=1)
    marked = [text[start:end] for start, end, _ in hit.spans]
    marked += [title[start:end] for start, end, _ in hit.title_spans]
    assert marked
    assert all(words.strip() == words and words for words in marked)


def test_a_list_of_queries_gives_what_each_gives_alone(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(RECORDS)
    batch = collection.search(["restore", "pasta"], k=2)
    for query, hits in zip(["restore", "pasta"], batch, strict=True):
        alone = collection.search(query, k=2)
        assert [hit.doc_id for hit in hits] == [hit.doc_id for hit in alone]
        assert [hit.spans for hit in hits] == [hit.spans for hit in alone]


def test_embeddings_of_queries_give_what_their_texts_do(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    texts = ["restore one file", "pasta"]
    queries = encoder.encode_queries(texts)
    assert collection.search(queries) == [[], []]
    assert collection.search(queries[0]) == []
    collection.add(RECORDS)
    expected = collection.search(texts, k=2)
    assert collection.search(queries, k=2) == expected
    for i, hits in enumerate(expected):
        alone = collection.search(queries[i], k=2, n_threads=1)
        assert [(hit.doc_id, hit.passages) for hit in alone] == [
            (hit.doc_id, hit.passages) for hit in hits
        ]
        # while kernels compile, scores differ in their last digits
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits], abs=1e-4)
    pasta = encoder.encode_queries(["pasta"])[0]
    explanation = collection.explain("pasta", "pasta", query_embeddings=pasta)
    assert explanation == collection.explain("pasta", "pasta")


def test_embeddings_of_another_encoder_are_refused(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    other = encoder.with_settings(document_length=32)
    with pytest.raises(InputError, match="another encoder"):
        collection.search(other.encode_queries(["pasta"]))
    with pytest.raises(InputError, match="dim=3"):
        collection.search(np.zeros((2, 3), np.float32))


def test_exact_scores_are_those_of_the_decoded_tokens(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(RECORDS)
    for hit in collection.search("restore one file", exact=True):
        expected = collection.explain("restore one file", hit.doc_id).score
        assert hit.score == pytest.approx(expected, abs=1e-5)
    texts = [" ".join(filter(None, (record.get("title"), record["text"]))) for record in RECORDS]
    stored = encoder.encode_documents(map(str, texts))
    [best, *_] = collection.search("restore one file", rescore=stored)
    assert best.score == pytest.approx(collection.rerank("restore one file", ["backup"])[0].score)


def test_it_searches_as_an_index_of_its_texts(tmp_path: Path, encoder: Encoder) -> None:
    texts = sentences(40)
    collection = Collection.create(tmp_path / "c", encoder, spans=False)
    collection.add(texts)
    embeddings = encoder.encode_documents(texts.values())
    index = PlaidIndex.build(embeddings, tmp_path / "i", list(texts))
    query = encoder.encode_queries(["file on a disk"])[0]
    expected = [(doc_id, score) for doc_id, score in index.search(query, 5)]
    assert [(hit[0], hit[1]) for hit in collection.search("file on a disk", 5)] == expected


def test_rerank_is_exact(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder, index={"nbits": 1})
    texts = sentences(20)
    collection.add(texts)
    hits = collection.search("salt and water", k=5)
    reranked = collection.rerank("salt and water", hits, k=3)
    expected = Reranker(encoder).rank("salt and water", {hit.doc_id: hit.text for hit in hits}, k=3)
    assert [(hit.doc_id, hit.rank) for hit in reranked] == [(r.doc_id, r.rank) for r in expected]
    assert [hit.score for hit in reranked] == pytest.approx([r.score for r in expected], abs=1e-4)
    assert reranked[0].text == texts[reranked[0].doc_id]
    assert reranked[0].spans
    assert collection.rerank("salt", ["d3"])[0].doc_id == "d3"


def test_explain_follows_a_document(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(RECORDS)
    explanation = collection.explain("restore one file", "backup")
    assert explanation.is_result
    assert explanation.spans


def test_filters_keep_other_documents_out(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(RECORDS)
    assert [hit.doc_id for hit in collection.search("file", filter=["pasta"])] == ["pasta"]
