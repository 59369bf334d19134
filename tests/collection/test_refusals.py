"""Unusable input and damaged files are refused by name, and nothing changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colmodern import Collection, Encoder, PlaidIndex
from colmodern.collection.manifest import FORMAT
from colmodern.errors import ColmodernError, InputError, StorageError
from colmodern.files import sha256_of_json
from colmodern.writer_lock import LockedError, writer_lock

TEXTS = {"a": "a file on a disk", "b": "pasta and salt", "c": "the flow of water"}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


@pytest.fixture
def collection(tmp_path: Path, encoder: Encoder) -> Collection:
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(TEXTS)
    return collection


def content(collection: Collection) -> dict[str, str]:
    return {doc_id: collection[doc_id].text for doc_id in collection}


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("one text", "documents='one text' is one string"),
        ({"x", "y"}, "has no order"),
        (None, "documents=None"),
        ([3], r"documents\[0\] is 3; pass texts"),
        (["fine", ("i", "j", "k")], r"documents\[1\] is \('i', 'j', 'k'\)"),
        ([("", "text")], r"the id of documents\[0\] is empty"),
        ([("x\0y", "text")], "holds NUL"),
        ([("x\ud800", "text")], "half a surrogate pair"),
        ([(3, "text")], r"the id of documents\[0\] is 3; ids are text"),
        ([("x", "text \udcff")], "half a surrogate pair"),
        ([("x", None)], r"the text of documents\[0\] is None"),
        ([{"id": "x", "title": "t"}], "has no key 'text'"),
        ([{"id": "x", "text": "t", "title": 3}], "the title of"),
        ([{"id": "x", "text": "t", "score": float("nan")}], "JSON cannot hold"),
        ([{"id": "x", "text": "t", "set": {1}}], "JSON cannot hold"),
        ([{"id": "x", "text": "t", "more": "\ud800"}], "JSON cannot hold"),
        ([{"id": "x", "text": "t", 4: 4}], "keys of records are text"),
        ([("x", "1"), ("y", "2"), ("x", "3")], r"documents\[0\] and documents\[2\] both have"),
        ([("x", "1"), ("b", "2")], "'b' is in the collection already; use update"),
    ],
)
def test_documents_are_refused_by_position(
    collection: Collection, documents: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        collection.add(documents)
    assert content(collection) == TEXTS == content(Collection.open(collection.folder))
    assert len(list(collection.folder.glob("*"))) == 4  # manifest, lock, texts, index
    collection.check()


def test_odd_ids_and_texts_are_kept(tmp_path: Path, encoder: Encoder) -> None:
    odd = {
        "with space": "",
        "../../etc": " \n ",
        "ünïcode/日本語.md": "日本語 の テキスト 🧑‍🚀",
        "x" * 5000: "long id",
        "\r\n": "line\r\nend\u2028\u0000",
    }
    collection = Collection.create(tmp_path / "c", encoder)
    collection.add(odd)
    collection.check()
    assert content(collection) == content(Collection.open(tmp_path / "c")) == odd
    assert {hit.doc_id for hit in collection.search("日本語", k=9)} == set(odd)


def test_wrong_arguments_are_named(collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ids has 1 entries"):
        collection.add(["x", "y"], ids=["1"])
    with pytest.raises(InputError, match="ids has 2 entries"):
        collection.add(["x"], ids=["1", "2"])
    with pytest.raises(InputError, match="leave ids out"):
        collection.add([("x", "y")], ids=["1"])
    with pytest.raises(InputError, match="has no id"):
        collection.update(["a text without id"])
    with pytest.raises(InputError, match="'x' is not in the collection; leave its id out"):
        collection.delete(["a", "x"])
    with pytest.raises(InputError, match="'x' is not in the collection; check the id"):
        collection.get(["x"])
    with pytest.raises(InputError, match="pass one id"):
        collection.explain("file", 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="repeated ids"):
        collection.rerank("file", ["a", "a"])
    with pytest.raises(InputError, match="k=0"):
        collection.search("file", k=0)
    with pytest.raises(InputError, match="no text"):
        collection.search(" ")
    with pytest.raises(InputError, match="unknown setting 'bits'"):
        Collection.create(tmp_path / "new", index={"bits": 2})
    with pytest.raises(InputError, match="nbits=3"):
        Collection.create(tmp_path / "new", index={"nbits": 3})
    with pytest.raises(InputError, match="come too late"):
        Collection.create(tmp_path / "new", collection.encoder, document_length=10)
    assert not (tmp_path / "new").exists()
    assert content(collection) == TEXTS


def test_read_only_closed_and_taken(collection: Collection, encoder: Encoder) -> None:
    reader = Collection.open(collection.folder, read_only=True, encoder=encoder)
    for change in (
        lambda: reader.add(["x"]),
        lambda: reader.update([("a", "x")]),
        lambda: reader.delete(["a"]),
        lambda: reader.compact(),
        lambda: reader.rebuild(),
    ):
        with pytest.raises(InputError, match="read_only=True"):
            change()
    with writer_lock(collection.folder), pytest.raises(LockedError, match="is being written"):
        collection.add(["x"])
    collection.close()
    for use in (lambda: len(collection), lambda: collection.search("x"), collection.info):
        with pytest.raises(InputError, match="closed; open it again"):
            use()
    assert content(reader) == TEXTS


def test_folders_that_hold_something_else(tmp_path: Path, collection: Collection) -> None:
    with pytest.raises(StorageError, match="holds files already"):
        Collection.create(collection.folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="is a file"):
        Collection.create(tmp_path / "file")
    with pytest.raises(StorageError, match="is a file"):
        Collection.open(tmp_path / "file")
    with pytest.raises(StorageError, match="there is no collection"):
        Collection.open(tmp_path / "none")
    with pytest.raises(StorageError, match="format='colmodern-plaid', not 'colmodern-collection'"):
        Collection.open(next(collection.folder.glob("index-*")))


def test_another_model_is_refused(collection: Collection, bert: Path) -> None:
    other = Encoder.from_pretrained(bert, projection_dim=128, device="cpu")
    with pytest.raises(StorageError, match="open it with the model that it was created with"):
        Collection.open(collection.folder, encoder=other)
    shorter = collection.encoder.with_settings(document_length=16)
    with pytest.raises(StorageError, match="settings differ"):
        Collection.open(collection.folder, encoder=shorter)


def test_spans_of_a_collection_without_are_refused(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder, spans=False)
    collection.add(TEXTS)
    assert collection.search("file", k=1)[0].spans == ()
    with pytest.raises(InputError, match="was created without"):
        collection.search("file", spans=True)


def test_an_index_that_was_changed_alone_is_refused(collection: Collection) -> None:
    PlaidIndex.load(next(collection.folder.glob("index-*"))).delete(["a"])
    with pytest.raises(StorageError, match="was changed by itself"):
        Collection.open(collection.folder)


def test_every_damaged_file_is_named(collection: Collection) -> None:
    """One flipped bit in any file is found by ``check``, and in texts and manifest before they are used."""
    folder = collection.folder
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(files) > 15
    for path in files:
        whole = path.read_bytes()
        if not whole:
            continue
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 16]) + whole[middle + 1 :])
        if path.name == "texts.bin":  # compared block by block
            with pytest.raises(StorageError, match=r"texts\.bin differs"):
                Collection.open(folder).get(["a"])
        elif path.parent.name.startswith("texts") or path.parent == folder:
            with pytest.raises(StorageError):
                Collection.open(folder)
        with pytest.raises(ColmodernError) as refused:
            Collection.open(folder, read_only=True, device="cpu").check()
        assert path.name in str(refused.value) or path.parent.name in str(refused.value), path
        path.unlink()
        with pytest.raises(ColmodernError):
            Collection.open(folder, read_only=True, device="cpu").check()
        path.write_bytes(whole)
    Collection.open(folder).check()


def test_manifests_of_other_versions_and_fields_are_refused(collection: Collection) -> None:
    path = collection.folder / "manifest.json"
    fields = json.loads(path.read_text())
    assert fields["format"] == FORMAT

    def write(**changed: Any) -> None:
        content = {k: v for k, v in {**fields, **changed}.items() if k not in ("sha256",)}
        sealed = {k: v for k, v in content.items() if k not in ("format", "version")}
        path.write_text(json.dumps({**content, "sha256": sha256_of_json(sealed)}))

    write(version=4)
    with pytest.raises(StorageError, match="version=4; this colmodern reads versions 1 to 3"):
        Collection.open(collection.folder)
    write(texts=[{**fields["texts"][0], "name": "../texts-00001"}])
    with pytest.raises(StorageError, match=r"a wrong texts\.0\.name"):
        Collection.open(collection.folder)
    write(color="red")
    with pytest.raises(StorageError, match="a wrong color"):
        Collection.open(collection.folder)
    write()
    assert content(Collection.open(collection.folder)) == TEXTS


@pytest.mark.parametrize("fault", [ZeroDivisionError("x"), FileNotFoundError(2, "no", "mine.txt")])
def test_a_failing_generator_leaves_everything_as_it_was(
    collection: Collection, fault: Exception
) -> None:
    def documents() -> Iterator[tuple[str, str]]:
        yield ("x", "one")
        raise fault

    with pytest.raises(type(fault)) as raised:
        collection.add(documents())
    assert raised.value is fault
    assert content(collection) == TEXTS
    collection.add([("x", "one")])
    collection.check()
