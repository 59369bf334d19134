"""A collection gives back what was put in, and finds it as an index of its texts does."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from colmodern import (
    Collection,
    CollectionHit,
    Encoder,
    PlaidIndex,
    Reranker,
    SpanSettings,
    StoredDocument,
    TokenEmbeddings,
)
from colmodern.collection import changes, encoded
from colmodern.errors import InputError

RECORDS = [
    {
        "_id": "backup",
        "title": "Backups",
        "text": "The tool copies folders to another disk every night. To restore a single file, name it.",
        "language": "en",
        "pages": [1, 2],
    },
    {"id": "rename", "text": "To rename a single file, choose it and type another name."},
    {"id": "pasta", "title": "Cooking", "text": "Boil the pasta in salted water for ten minutes."},
]
WORDS = (
    *("disk", "file", "night", "pasta", "water", "salt", "name", "copy"),
    *("log", "day", "wing", "flow", "number", "date", "lift"),
)


def sentences(n: int, start: int = 0) -> dict[str, str]:
    n_words = len(WORDS)
    return {
        f"d{i}": " ".join(WORDS[(i * step + step) % n_words] for step in range(1, 5 + i % 7))
        for i in range(start, start + n)
    }


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


def everything(collection: Collection, query: str) -> dict[str, float]:
    """The score of every document; so small an index scores all of them."""
    n_docs = max(1, len(collection))
    hits = collection.search(query, k=n_docs, n_candidates=n_docs, spans=False)
    return {hit.doc_id: hit.score for hit in hits}


def test_records_come_back_whole(tmp_path: Path, encoder: Encoder) -> None:
    with Collection.create(tmp_path / "c", encoder) as collection:
        collection.add(RECORDS)
        assert list(collection) == ["backup", "rename", "pasta"]
        assert len(collection) == 3
        assert "pasta" in collection
        assert "x" not in collection
        assert 3 not in collection
        title, fields = "Backups", {"language": "en", "pages": [1, 2]}
        expected = StoredDocument("backup", str(RECORDS[0]["text"]), title, fields)
        assert collection["backup"] == expected
        assert [found.doc_id for found in collection.get(["pasta", "backup"])] == [
            "pasta",
            "backup",
        ]
    assert repr(collection) == "Collection(closed)"


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


def test_embeddings_of_documents_give_what_their_texts_do(tmp_path: Path, encoder: Encoder) -> None:
    by_text = Collection.create(tmp_path / "texts", encoder)
    by_embeddings = Collection.create(tmp_path / "embeddings", encoder)
    for documents in (RECORDS, [RECORDS[1] | {"text": "Names change."}, ("new", "More of it.")]):
        by_text.update(documents)
        texts = by_embeddings.model_texts(documents)
        embeddings = encoder.encode_documents(texts, spans=True)
        by_embeddings.update(documents, embeddings=embeddings)
    assert by_text.get(by_text) == by_embeddings.get(by_embeddings)
    assert everything(by_text, "a name") == everything(by_embeddings, "a name")
    by_embeddings.check()

    document, version = [("new", "Less.")], by_embeddings.version
    other = encoder.with_settings(document_length=32)
    for wrong, message in (
        (encoder.encode_documents(["Less."]), "need the characters"),
        (other.encode_documents(["Less."], spans=True), "another encoder"),
        (encoder.encode_documents(["Less.", "Much."], spans=True), "2 texts for 1 documents"),
        (TokenEmbeddings.from_list([np.eye(3, 128)]), "fingerprint is None"),
        ([np.eye(3, 128)], "pass TokenEmbeddings"),
    ):
        with pytest.raises(InputError, match=message):
            by_embeddings.update(document, embeddings=wrong)
    assert by_embeddings.version == version


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


@pytest.mark.parametrize("n_added", [10, 100])
def test_adding_equals_a_fresh_build(tmp_path: Path, encoder: Encoder, n_added: int) -> None:
    """The same scores up to compression, and exactly the same once the index is learnt anew."""
    old, new = sentences(40), sentences(n_added, start=40)
    grown = Collection.create(tmp_path / "grown", encoder)
    grown.add(old)
    grown.add(new)
    fresh = Collection.create(tmp_path / "fresh", encoder)
    fresh.add({**old, **new})
    assert list(grown) == list(fresh)
    assert grown.get(list(old | new)) == fresh.get(list(old | new))
    for query in ("file on a disk", "pasta and salt"):
        assert everything(grown, query) == pytest.approx(everything(fresh, query), abs=0.5)
    grown.rebuild()
    for query in ("file on a disk", "pasta and salt"):
        assert everything(grown, query) == pytest.approx(everything(fresh, query), abs=1e-4)


def test_embeddings_on_disk_give_what_those_in_memory_do(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(50)
    in_memory = Collection.create(tmp_path / "memory", encoder)
    in_memory.add(texts)
    monkeypatch.setattr(encoded, "_IN_MEMORY", 5)
    monkeypatch.setattr(encoded, "_SHARD_TOKENS", 100)
    on_disk = Collection.create(tmp_path / "disk", encoder)
    on_disk.add(iter(texts.items()))
    assert list(on_disk) == list(in_memory)
    expected = everything(in_memory, "file on a disk")
    assert everything(on_disk, "file on a disk") == pytest.approx(expected, abs=0.1)
    assert not (on_disk.folder / encoded.FOLDER).exists()


def test_the_index_is_learnt_again_when_it_has_grown(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(sentences(10))
    first = collection.info()["index"]
    collection.add(sentences(20, start=10))
    assert collection.info()["index"]["centroids"] == first["centroids"]
    collection.add(sentences(10, start=30))
    assert len(collection) == 40 == changes._GROWTH * 10
    assert collection.info()["index"]["centroids"] > first["centroids"]
    collection.check()


def test_delete_and_update(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(RECORDS)
    assert collection.delete(["rename", "rename"]) == 1
    assert "rename" not in collection
    collection.update([("backup", "Now about wings."), ("new", "A lift is a force.")])
    assert list(collection) == ["pasta", "backup", "new"]
    assert collection["backup"] == StoredDocument("backup", "Now about wings.")
    assert collection.search("wings", k=1)[0].text == "Now about wings."
    collection.add([("rename", "It is back.")])
    assert collection["rename"].text == "It is back."
    assert collection.delete([]) == 0
    before = everything(collection, "wings")
    collection.compact()
    assert everything(collection, "wings") == before
    assert len(list(collection.folder.glob("texts-*"))) == 1
    collection.delete(list(collection))
    assert len(collection) == 0
    assert collection.search("wings") == []
    collection.compact()
    collection.rebuild()
    collection.add(["something again"])
    assert [hit.text for hit in collection.search("wings")] == ["something again"]
    collection.check()


def test_texts_get_the_next_free_numbers(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add([("1", "one")])
    collection.add(["zero", "two", {"text": "three"}])
    assert {doc_id: collection[doc_id].text for doc_id in collection} == {
        "1": "one",
        "0": "zero",
        "2": "two",
        "3": "three",
    }
    collection.delete(["3"])
    collection.add(["four"])  # a number is not used twice
    collection.add(["a", "b"], ids=["x", "y"])
    assert list(Collection.open(collection.folder))[-3:] == ["4", "x", "y"]


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


def test_readers_keep_their_view_until_they_refresh(tmp_path: Path, encoder: Encoder) -> None:
    writer = Collection.create(tmp_path / "c", encoder)
    writer.add(RECORDS)
    reader = Collection.open(tmp_path / "c", read_only=True, encoder=encoder)
    writer.update([("rename", "Another text."), ("new", "More.")])
    writer.rebuild()
    assert reader["rename"].text == RECORDS[1]["text"]
    assert "new" not in reader
    assert reader.search("rename a file", k=1)[0].text == RECORDS[1]["text"]
    assert reader.refresh()
    assert not reader.refresh()
    assert reader["rename"].text == "Another text."
    assert "new" in reader


def test_a_copy_keeps_its_documents_and_version(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    versions = [collection.version]
    collection.add(RECORDS)
    before = copy.copy(collection)
    versions.append(before.version)
    collection.update([{"id": "rename", "text": RECORDS[1]["text"], "year": 1999}])
    versions.append(collection.version)
    assert len(set(versions)) == 3
    assert (before.version, before["rename"].fields) == (versions[1], {})
    before.delete(["pasta"])
    assert "pasta" in collection
    assert "pasta" not in before
    assert before["rename"].fields == {"year": 1999}  # changed as it is on disk
    assert collection.refresh()
    assert collection.version == before.version == Collection.open(tmp_path / "c").version
    before.close()
    assert collection.search("rename a file", k=1)[0].doc_id == "rename"


def test_what_stays_is_not_opened_again(tmp_path: Path, encoder: Encoder) -> None:
    writer = Collection.create(tmp_path / "c", encoder)
    writer.add(sentences(60))
    reader = Collection.open(tmp_path / "c", encoder=encoder)
    reader.search("file")
    writer.delete(["d1"])
    texts, segments = reader._state.texts.segments, reader._state.index._state.snapshot.segments
    assert reader.refresh()
    assert reader._state.texts.segments[0] is texts[0]
    assert reader._state.index._state.snapshot.segments[0] is segments[0]
    assert everything(reader, "file") == everything(writer, "file")


def test_two_objects_change_one_folder_in_turn(tmp_path: Path, encoder: Encoder) -> None:
    first = Collection.create(tmp_path / "c", encoder)
    second = Collection.open(tmp_path / "c", encoder=encoder)
    first.add(["a"])
    second.add(["b"])
    first.add(["c"])
    second.delete(["0"])
    first.refresh()
    assert {first[doc_id].text for doc_id in first} == {"b", "c"}
    assert list(first) == list(second)


def test_open_alone_finds_the_model(tmp_path: Path, encoder: Encoder) -> None:
    Collection.create(tmp_path / "c", encoder).add(RECORDS)
    collection = Collection.open(tmp_path / "c", device="cpu")
    assert collection._encoder is None  # nothing is loaded before it is needed
    assert collection["pasta"].title == "Cooking"
    collection.delete(["rename"])
    collection.compact()
    assert collection._encoder is None
    assert collection.search("pasta", k=1)[0].doc_id == "pasta"
    again = pickle.loads(pickle.dumps(collection))
    assert list(again) == list(collection)


def test_it_shows_itself_shortly(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add({"<b>": "a <script> in a text", **sentences(9)})
    expected = f"Collection('{tmp_path}/c', n_docs=10, model='colmodern/tiny')"
    assert repr(collection) == expected
    html = collection._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "5 more documents" in html
    info = collection.info()
    assert info["documents"] == 10
    assert info["model"] == "colmodern/tiny"
    assert info["bytes"]["total"] == info["bytes"]["texts"] + info["bytes"]["index"] > 0
