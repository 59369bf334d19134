"""Indexes over HTTP say what they hold, change as a whole, and refuse what they cannot do."""

from __future__ import annotations

import errno
import json
import os
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from service.asking import (
    JSON,
    QUERY,
    RECORDS,
    answer,
    expect_error,
    filled,
    hits_of,
    put,
    search,
)

from colmodern import Collection, Encoder, PlaidIndex
from colmodern.service.index_bodies import (
    ChangeAnswer,
    DocumentAnswer,
    IndexAnswer,
    IndexesAnswer,
)

ODD_TEXTS = [
    '  two files\r\nand a\ttab \\ "quoted" <b>file</b> & more\u2028line',
    "a file 👩\u200d🚀 with 🇩🇪 flags and e\u0301 accents, naïve façade",
    "ファイルを復元する方法 の説明, file",
    "\u202efile turned around\u202c and \ufeff a mark",
]


@pytest.fixture
def changing(tmp_path: Path, encoder: Encoder, make_server: Any) -> Any:
    """A server of a collection and an index of embeddings alone, which a test may change."""
    filled(tmp_path / "docs", encoder).close()
    embeddings = encoder.encode_documents([str(record["text"]) for record in RECORDS])
    PlaidIndex.build(embeddings, tmp_path / "bare", [str(r["id"]) for r in RECORDS]).close()
    names = ("docs", "bare")
    return make_server(indexes={name: str(tmp_path / name) for name in names}, refresh_s=0.05)


def test_indexes_are_listed_with_their_facts(served: Any, folders: dict[str, str]) -> None:
    listed = answer(served.client.get("/v1/indexes"), IndexesAnswer)["indexes"]
    facts = {index["name"]: index for index in listed}
    assert list(facts) == ["bare", "docs", "empty", "unknown"]
    takes_texts = {name: index["takes_texts"] for name, index in facts.items()}
    assert takes_texts == {"bare": True, "docs": True, "empty": True, "unknown": False}
    assert [facts[name]["spans"] for name in ("docs", "bare")] == [True, False]
    for name, folder in folders.items():
        whole = answer(served.client.get(f"/v1/indexes/{name}"), IndexAnswer)
        assert whole | facts[name] == whole
        kind = PlaidIndex.load if name in ("bare", "unknown") else Collection.open
        with_version = kind(folder)
        assert whole["index_version"] == with_version.version
        assert whole["documents"] == len(with_version)
        assert folder not in json.dumps(whole)
    assert whole["segments"] == 0  # the last one is empty
    whole = served.client.get("/v1/indexes/docs").json()
    assert whole["model"] == "colmodern/tiny"
    assert whole["index_settings"]["nbits"] == 4


def test_documents_are_put_read_and_deleted(changing: Any) -> None:
    before = search(changing, queries="walrus")["index_version"]
    body = answer(
        put(
            changing,
            {"id": "new", "title": "Seal", "text": "The walrus sleeps.", "fields": {"legs": 0}},
            {"id": "pasta", "text": "Rice instead."},
        ),
        ChangeAnswer,
    )
    assert (body["changed"], body["documents"]) == (2, 4)
    assert list(body["took_ms"]) == ["queue", "encode", "write"]
    found = search(changing, queries="walrus", k=1)
    assert found["index_version"] == body["index_version"] != before
    assert found["results"][0]["hits"][0]["fields"] == {"legs": 0}
    path = "/v1/indexes/docs/documents"
    whole = answer(changing.client.get(f"{path}/new"), DocumentAnswer)
    assert (whole["title"], whole["text"]) == ("Seal", "The walrus sleeps.")
    assert changing.client.get(f"{path}/pasta").json()["text"] == "Rice instead."
    assert changing.client.get(f"{path}/pasta").json()["title"] == ""
    ids = {"ids": ["new", "rename/it", "new"]}
    body = answer(changing.client.request("DELETE", path, json=ids), ChangeAnswer)
    assert (body["changed"], body["documents"]) == (2, 2)
    expect_error(changing.client.get(f"{path}/new"), 404, "unknown_document")
    both = {"ids": ["backup", "new"]}
    response = changing.client.request("DELETE", path, json=both)
    expect_error(response, 404, "unknown_document", "'new'")
    assert changing.client.get(f"{path}/backup").status_code == 200  # all or none


def test_odd_texts_and_ids_come_back_with_right_passages(changing: Any) -> None:
    ids = ["a b", "ü/🚀", "<img onerror=alert(1)>", "..%2f..", "{doc_id}", "a?b#c"]
    ids += ["backup\n", "a\nb", "\r\n"]
    documents = [{"id": doc_id, "text": f"unused number {i}"} for i, doc_id in enumerate(ids)]
    documents += [{"id": f"t{i}", "text": text} for i, text in enumerate(ODD_TEXTS)]
    answer(put(changing, *documents), ChangeAnswer)
    for i, text in enumerate(ODD_TEXTS):
        [hit] = hits_of(changing, queries="file", k=1, filter=[f"t{i}"])
        assert hit["text"] == text
        words = [text[span["start"] : span["end"]] for span in hit["spans"]]
        assert any("file" in word for word in words), words
        assert all(word == word.strip() for word in words)
    for i, doc_id in enumerate(ids):
        [hit] = hits_of(changing, queries="number", k=1, filter=[doc_id])
        assert (hit["id"], hit["text"]) == (doc_id, f"unused number {i}")
        quoted = "/".join(map(_quoted, doc_id.split("/")))
        response = changing.client.get(f"/v1/indexes/docs/documents/{quoted}")
        assert answer(response, DocumentAnswer)["id"] == doc_id


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def test_an_index_of_embeddings_alone_takes_embeddings_or_texts(
    changing: Any, encoder: Encoder
) -> None:
    rows = encoder.encode_documents(["The walrus sleeps."])[0]
    embedding = {"shape": list(rows.shape), "embedding": b64encode(rows.tobytes()).decode()}
    by_rows = {"id": "rows", "embedding": rows.tolist()}
    answer(
        put(changing, by_rows, {"id": "bytes", "embedding": embedding}, name="bare"), ChangeAnswer
    )
    answer(put(changing, {"id": "text", "text": "The walrus sleeps."}, name="bare"), ChangeAnswer)
    found = hits_of(changing, "bare", queries="walrus", k=3)
    assert {hit["id"] for hit in found} == {"rows", "bytes", "text"}
    assert len({round(hit["score"], 3) for hit in found}) == 1
    both = [by_rows, {"id": "t", "text": "x"}]
    expect_error(put(changing, *both, name="bare"), 422, "invalid_value", "embeddings of all")
    fields = {"id": "t", "text": "salt of the walrus", "fields": {"year": 2021}}
    answer(put(changing, fields, name="bare"), ChangeAnswer)
    assert hits_of(changing, "bare", queries="x", filter={"year": {"gte": 2020}})[0]["id"] == "t"
    filed = {
        **by_rows,
        "fields": {
            "year": 1999,
            "day": "1999-05-01",
            "tags": ["old", "dry"],
            "author": {"name": "Ann"},
        },
    }
    answer(put(changing, filed, {"id": "none", "embedding": embedding}, name="bare"), ChangeAnswer)
    for filter in ({"year": {"lt": 2000}}, {"tags": "dry"}, {"author.name": "Ann"}):
        assert [hit["id"] for hit in hits_of(changing, "bare", queries="x", filter=filter)] == [
            "rows"
        ]
    by_day = {"queries": "x", "filter": {"day": {"gte": "May 1999"}}}
    response = changing.client.post("/v1/indexes/bare/search", json=by_day)
    expect_error(
        response, 422, "invalid_value", "'day'", "'May 1999'", "write a date as 2024-05-01"
    )
    groups = hits_of(changing, "bare", queries="walrus", group_by="year", k=9)
    assert {hit["group"] for hit in groups} == {2021, 1999, None}
    answer(put(changing, by_rows, name="bare"), ChangeAnswer)  # in place of the one with fields
    assert not hits_of(changing, "bare", queries="x", filter={"tags": "dry"})
    response = put(changing, by_rows, name="bare", fingerprint="0" * 64)
    expect_error(response, 422, "invalid_value", "another encoder")
    expect_error(put(changing, by_rows), 422, "invalid_value", "keeps the text")


def test_what_is_not_there_or_cannot_be_is_refused(served: Any) -> None:
    client, body = served.client, {"queries": "x"}
    expect_error(client.post("/v1/indexes/no/search", json=body), 404, "unknown_index", "docs")
    expect_error(client.get("/v1/indexes/no"), 404, "unknown_index")
    expect_error(client.get("/v1/indexes/docs/documents/no"), 404, "unknown_document")
    told = {"query": "x", "doc_id": "no"}
    expect_error(client.post("/v1/indexes/docs/explain", json=told), 404, "unknown_document")
    unnamed = client.post("/v1/indexes/unknown/search", json=body)
    expect_error(unnamed, 422, "invalid_value", "does not name the model", "send embeddings")
    spans = client.post("/v1/indexes/bare/search", json={**body, "spans": True})
    expect_error(spans, 422, "invalid_value", "characters")
    wrong = client.post("/v1/indexes/docs/search", content="{", headers=JSON)
    expect_error(wrong, 400, "invalid_json")


def test_a_server_that_is_read_only_changes_nothing(served: Any) -> None:
    document = {"id": "x", "text": "y"}
    expect_error(put(served, document), 403, "read_only")
    response = served.client.request(
        "DELETE", "/v1/indexes/docs/documents", json={"ids": ["pasta"]}
    )
    expect_error(response, 403, "read_only")
    assert served.client.get("/v1/indexes/docs/documents/pasta").status_code == 200


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([], ["documents"]),
        ([{"id": "", "text": "x"}], ["id"]),
        ([{"id": "x"}], ["documents[0] has no text"]),
        ([{"text": "x"}], ["documents[0].id"]),
        ([{"id": "x", "text": "a"}, {"id": "x", "text": "b"}], ["both have the id 'x'"]),
        ([{"id": "\0", "text": "x"}], ["NUL"]),
        ([{"id": "x", "text": "\udc00"}], ["surrogate"]),
        ([{"id": "x", "text": "y", "other": 1}], ["documents[0].other: unknown field"]),
        ([{"id": "x", "text": "y", "fields": {"a": float("nan")}}], ["field"]),
        ([{"id": "x", "text": "y" * 200_001}], ["200,000"]),
    ],
)
def test_unusable_documents_change_nothing(
    changing: Any, documents: list[dict[str, Any]], words: list[str]
) -> None:
    before = changing.client.get("/v1/indexes").json()
    content = json.dumps({"documents": documents})
    response = changing.client.put("/v1/indexes/docs/documents", content=content, headers=JSON)
    assert response.status_code == 422
    expect_error(response, 422, response.json()["error"]["code"], *words)
    assert changing.client.get("/v1/indexes").json() == before


@pytest.mark.parametrize("n_rounds", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_every_answer_is_one_state_while_a_writer_changes_it(changing: Any, n_rounds: int) -> None:
    """A round replaces all documents in one change; no answer mixes two rounds."""

    def documents(number: int) -> list[dict[str, str]]:
        names = ("backup", "rename/it", "pasta")
        return [{"id": name, "text": f"round {number} of file {name}"} for name in names]

    seen: list[list[tuple[int, str]]] = [[] for _ in range(4)]
    faults: list[object] = []
    is_over = threading.Event()
    answer(put(changing, *documents(0)), ChangeAnswer)

    def look(own: list[tuple[int, str]]) -> None:
        try:
            while not is_over.is_set():
                body = search(changing, queries=["file", "round of pasta"], k=3)
                for result in body["results"]:
                    [number] = {int(hit["text"].split()[1]) for hit in result["hits"]}
                    assert len(result["hits"]) == 3
                    own.append((number, body["index_version"]))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=look, args=(own,)) for own in seen]
    for thread in threads:
        thread.start()
    versions = {}
    for number in range(1, n_rounds + 1):
        versions[number] = answer(put(changing, *documents(number)), ChangeAnswer)["index_version"]
    is_over.set()
    for thread in threads:
        thread.join(60)
    assert not faults
    for own in seen:
        assert own == sorted(own, key=lambda item: item[0])  # nobody goes back
        assert all(versions.get(number, version) == version for number, version in own)
    assert len({number for own in seen for number, _ in own}) > n_rounds / 4


def test_changes_of_another_process_are_seen(changing: Any, tmp_path: Path) -> None:
    other = Collection.open(tmp_path / "docs", device="cpu")
    other.update([("new", "The walrus sleeps.")])
    other.delete(["pasta"])
    _wait_until(lambda: search(changing, queries="x")["index_version"] == other.version)
    assert hits_of(changing, queries="walrus", k=1)[0]["id"] == "new"
    answer(put(changing, {"id": "more", "text": "More."}), ChangeAnswer)
    other.refresh()
    assert set(other) == {"backup", "rename/it", "new", "more"}


def _wait_until(is_so: Any) -> None:
    for _ in range(400):
        if is_so():
            return
        threading.Event().wait(0.025)
    raise AssertionError("it never came to be")


def test_a_damaged_change_of_another_process_is_told(changing: Any, tmp_path: Path) -> None:
    version = search(changing, queries="x")["index_version"]
    manifest = tmp_path / "docs" / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:100])
    path = "/v1/indexes/docs"
    _wait_until(lambda: changing.client.get(path).json()["fault"])
    assert "docs/manifest.json" in changing.client.get(path).json()["fault"]
    assert str(tmp_path) not in changing.client.get(path).text
    assert search(changing, queries="x")["index_version"] == version
    expect_error(put(changing, {"id": "x", "text": "y"}), 503, "index_unavailable")
    manifest.write_bytes(whole)
    _wait_until(lambda: changing.client.get(path).json()["fault"] is None)
    answer(put(changing, {"id": "x", "text": "y"}), ChangeAnswer)


def test_a_fault_that_nobody_foresaw_is_logged_once(
    changing: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = []

    def fail() -> bool:
        looks.append(len(looks))
        raise OSError("the disk is away")

    monkeypatch.setattr(changing.service.indexes["docs"], "refresh", fail)
    _wait_until(lambda: len(looks) > 3)
    path = "/v1/indexes/docs"
    assert changing.client.get(path).json()["fault"] == "it could not be looked at (OSError)"
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("index 'docs' could not be looked at") == 1
    monkeypatch.undo()
    _wait_until(lambda: changing.client.get(path).json()["fault"] is None)


def test_an_index_that_is_being_changed_is_busy(changing: Any) -> None:
    with changing.service.indexes["docs"]._changing:
        response = put(changing, {"id": "x", "text": "y"}, timeout_ms=300)
        expect_error(response, 409, "busy")
        assert response.headers["retry-after"] == "1"
        assert hits_of(changing, queries=QUERY, k=1)  # readers do not wait
    answer(put(changing, {"id": "x", "text": "y"}), ChangeAnswer)


def test_a_folder_that_cannot_be_written_is_named_as_the_fault(
    changing: Any, tmp_path: Path
) -> None:
    lock = tmp_path / "docs" / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    response = put(changing, {"id": "new", "text": "Walrus."})
    expect_error(response, 403, "not_writable", "cannot write the folder")
    assert "retry-after" not in response.headers
    assert hits_of(changing, queries="file")


@pytest.mark.parametrize("name", ["docs", "bare"])
def test_a_full_disk_is_named_and_changes_nothing(
    changing: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = changing.client.get(f"/v1/indexes/{name}").json()

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        response = put(changing, {"id": "new", "text": "Walrus."}, name=name)
    expect_error(response, 507, "disk_full", "disk is full, and the change was not made", "free")
    assert changing.client.get(f"/v1/indexes/{name}").json() == before
    answer(put(changing, {"id": "new", "text": "Walrus."}, name=name), ChangeAnswer)


def test_long_ids_and_filters_of_many_values_are_refused(
    tmp_path: Path, encoder: Encoder, make_server: Any
) -> None:
    filled(tmp_path / "docs", encoder).close()
    limits = {"id_length": 8, "filter_values": 3}
    server = make_server(indexes={"docs": str(tmp_path / "docs")}, limits=limits)
    refused = put(server, {"id": "short", "text": "a"}, {"id": "x" * 9, "text": "a"})
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert error["message"] == "documents[1].id has 9 characters, and this server takes 8"
    assert "limits.id_length" in error["cure"]
    assert put(server, {"id": "x" * 8, "text": "a"}).json()["changed"] == 1
    for filter in ({"or": [{"a": [1, 2]}, {"b": {"in": [3], "gt": 0}}]}, ["1", "2", "3", "4"]):
        body = {"queries": "a", "filter": filter}
        refused = server.client.post("/v1/indexes/docs/search", json=body)
        assert refused.status_code == 422
        message = refused.json()["error"]["message"]
        assert message == "filter has 4 values, and this server takes 3"
