"""A collection gives back what was put in, and its changes equal a fresh build."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from colmodern import Collection, Encoder, StoredDocument, TokenEmbeddings
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
