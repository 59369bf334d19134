"""Keys of a collection's records are fields that searches filter and group by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colmodern import Collection, Encoder
from colmodern.collection import encoded
from colmodern.errors import InputError
from colmodern.files import sha256_of_json

QUERY = "the disk and the file"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


def record(number: int, **fields: Any) -> dict[str, Any]:
    text = f"text number {number} on the file and disk {number * 7 % 5}"
    return {"id": f"d{number}", "text": text, "year": 2000 + number, **fields}


def ids(collection: Collection, filter: Any) -> set[str]:
    return {hit.doc_id for hit in collection.search(QUERY, 1000, filter=filter)}


@pytest.mark.parametrize("in_memory", [0, 64])
def test_fields_follow_every_change(
    encoder: Encoder, tmp_path: Path, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "_IN_MEMORY", in_memory)
    collection = Collection.create(tmp_path / "c", encoder, device="cpu")
    alive = {}
    wanted: dict[str, tuple[Any, Callable[[dict[str, Any]], bool]]] = {
        "number": ({"year": {"gte": 2004}}, lambda r: r["year"] >= 2004),
        "text": ({"lang": "de"}, lambda r: r.get("lang") == "de"),
        "nested": ({"meta.tags": "x"}, lambda r: "x" in r.get("meta", {}).get("tags", [])),
        "none": ({"lang": {"exists": False}}, lambda r: "lang" not in r),
    }

    def expect(collection: Collection) -> None:
        for filter, holds in wanted.values():
            assert ids(collection, filter) == {i for i, r in alive.items() if holds(r)}

    def put(change: Callable[[Any], None], *records: dict[str, Any]) -> None:
        change(records)
        alive.update({r["id"]: r for r in records})
        expect(collection)

    put(
        collection.add,
        *(record(i, lang="de" if i % 2 else "en", meta={"tags": []}) for i in range(5)),
        record(5, meta={"tags": "y"}),
    )
    put(collection.add, record(6, meta={"tags": ["x", "y"], "n": None}), record(7))
    put(collection.update, record(1, lang="en"), record(8, meta={"tags": "x"}, lang="de"))
    collection.delete(["d3"])
    del alive["d3"]
    expect(collection)
    collection.compact()
    expect(collection)
    put(collection.add, *(record(i) for i in range(10, 40)))  # learns its index again
    collection.rebuild()
    expect(collection)
    collection.check()
    expect(Collection.open(tmp_path / "c", encoder=encoder, device="cpu"))
    assert collection.info()["index"]["fields"]["meta.tags"] == "text"


def test_hits_are_grouped_and_paged(encoder: Encoder, tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", encoder, device="cpu")
    collection.add([record(i, parent=f"p{i % 3}") for i in range(9)])
    everything = collection.search(QUERY, 9)
    assert [hit.rank for hit in everything] == list(range(1, 10))
    page = collection.search(QUERY, 4, offset=5)
    assert [hit[:3] for hit in page] == [hit[:3] for hit in everything[5:]]
    best: dict[str, str] = {}
    for hit in everything:
        best.setdefault(hit.fields["parent"], hit.doc_id)
    groups = collection.search(QUERY, 5, group_by="parent")
    assert [hit.doc_id for hit in groups] == list(best.values())
    assert [hit.group for hit in groups] == list(best)
    assert [hit._replace(score=0.0).group for hit in groups] == list(best)
    assert f"group={groups[0].group!r}" in repr(groups[0])
    assert all(hit.group is None for hit in everything)
    many = collection.search([QUERY, "text"], 2, group_by="parent", offset=1)
    assert [hit.doc_id for hit in many[0]] == list(best.values())[1:]
    assert [hit.group for hit in many[0]] == list(best)[1:]


def test_a_collection_keeps_the_fields_that_it_was_created_with(
    encoder: Encoder, tmp_path: Path
) -> None:
    records = [record(i, lang="en", meta={"a": {"b": i}, "c": 1}) for i in range(3)]
    named = Collection.create(tmp_path / "named", encoder, device="cpu", fields=["year", "meta.a"])
    named.add(records)
    assert list(named.info()["index"]["fields"]) == ["meta.a.b", "year"]
    assert named["d1"].fields["lang"] == "en"  # the texts keep all
    with pytest.raises(
        InputError, match=r"field 'lang', which no document has; the fields are meta"
    ):
        ids(named, {"lang": "en"})
    none = Collection.create(tmp_path / "none", encoder, device="cpu", fields=False)
    none.add(records)
    assert none.info()["index"]["fields"] == {}
    with pytest.raises(InputError, match=r"none was created without fields; create it again"):
        ids(none, {"year": 2000})
    manifest = json.loads((tmp_path / "none" / "manifest.json").read_text())
    assert manifest["version"] == 1
    assert "fields" not in manifest
    assert json.loads((tmp_path / "named" / "manifest.json").read_text())["version"] == 2


def test_a_collection_of_an_earlier_version_has_no_fields(encoder: Encoder, tmp_path: Path) -> None:
    Collection.create(tmp_path / "c", encoder, device="cpu").close()
    path = tmp_path / "c" / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("format", "version", "sha256", "fields"):
        del manifest[name]
    sealed = {"format": "colmodern-collection", "version": 1, "sha256": sha256_of_json(manifest)}
    path.write_text(json.dumps({**sealed, **manifest}))
    collection = Collection.open(tmp_path / "c", encoder=encoder, device="cpu")
    collection.add([record(1)])
    with pytest.raises(InputError, match="was created without fields"):
        ids(collection, {"year": 2001})
    assert json.loads(path.read_text())["version"] == 1


@pytest.mark.parametrize("fields", ["year", 3, None, [1], [""], ["\ud800"], {"year": 1}])
def test_what_does_not_name_fields_is_refused(
    encoder: Encoder, tmp_path: Path, fields: Any
) -> None:
    with pytest.raises(InputError, match=r"fields.*; pass True, False, or a list of the keys"):
        Collection.create(tmp_path / "c", encoder, device="cpu", fields=fields)
    assert not (tmp_path / "c").exists()


def test_a_filter_is_checked_before_the_first_document_too(
    encoder: Encoder, tmp_path: Path
) -> None:
    collection = Collection.create(tmp_path / "c", encoder, device="cpu")
    assert collection.search(QUERY, filter={"year": 3}) == []
    for options in ({"filter": {"year": {"is": 3}}}, {"offset": -1}, {"group_by": 3}):
        with pytest.raises(InputError):
            collection.search(QUERY, **options)
