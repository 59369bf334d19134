"""Fields of documents in a PLAID index: filters after any change, damage, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.fields.records import EVERYTHING, filters, matches, records
from index.plaid.corpora import corpus, decoded, digests, expect_best, names, truth, write_store

from colmodern import PlaidIndex
from colmodern.errors import InputError, StorageError
from colmodern.index.fields.table import FieldTable
from colmodern.index.plaid.disk.manifest import read_manifest

N = 40
DOCUMENTS = corpus([5] * N, seed=3)
QUERY = np.asarray(corpus([4], seed=9).values, np.float32)
RECORDS: list[dict[str, Any]] = [
    {"year": 1990 + i, "lang": "en" if i % 3 else "de", "tags": ["odd"] if i % 2 else []}
    for i in range(N)
]


def build(path: Path, n: int = N, **options: Any) -> PlaidIndex:
    return PlaidIndex.build(DOCUMENTS[:n], path, names(n), fields=RECORDS[:n], **options)


def allowed(index: PlaidIndex, filter: Any) -> set[str]:
    return {result.doc_id for result in index.search(QUERY, 1000, filter=filter)}


changes = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(records, min_size=1, max_size=4)),
        st.tuples(st.just("update"), st.lists(records, min_size=1, max_size=4)),
        st.tuples(st.just("delete"), st.integers(0, 1 << 20)),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(st.just("reload"), st.none()),
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two documents, one of which has every field and stays."""
    folder = tmp_path_factory.mktemp("template") / "index"
    PlaidIndex.build(DOCUMENTS[:2], folder, ["d0", "d1"], fields=[EVERYTHING, {}]).close()
    return folder


@given(changes=changes, wanted=st.lists(filters, min_size=1, max_size=3), merge=st.booleans())
@settings(max_examples=15, deadline=None)
def test_after_any_changes_a_filter_is_what_a_loop_over_the_records_says(
    changes: list[tuple[str, Any]],
    wanted: list[dict[str, Any]],
    merge: bool,
    template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("fields") / "index"
    alive: dict[str, Any] = {"d0": EVERYTHING, "d1": {}}
    shutil.copytree(template, folder)
    index = PlaidIndex.load(folder)
    n_made = 2
    options = {"merge": merge, "durable": False}
    for change, argument in changes:
        if change == "add":
            ids = [f"d{n_made + i}" for i in range(len(argument))]
            index.add(DOCUMENTS[: len(ids)], ids, fields=argument, **options)
            n_made += len(ids)
            alive |= dict(zip(ids, argument, strict=True))
        elif change == "update":
            put = {f"d{(7 * i) % n_made + 1}": record for i, record in enumerate(argument)}
            index.update(DOCUMENTS[: len(put)], list(put), fields=put, **options)
            n_made += f"d{n_made}" in put
            alive |= put
        elif change == "delete" and len(alive) > 1:
            doc_id = sorted(alive)[argument % (len(alive) - 1) + 1]
            index.delete([doc_id], durable=False)
            del alive[doc_id]
        elif change == "compact":
            index.compact(durable=False)
        else:
            index = PlaidIndex.load(folder)
        for filter in wanted:
            expected = {doc_id for doc_id in alive if matches(alive[doc_id], filter)}
            assert allowed(index, filter) == expected
    PlaidIndex.check(folder)
    index.compact()
    for filter in wanted:
        prepared = index.filter(filter)
        assert allowed(index, prepared) == allowed(index, filter)
    index.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("nprobe", [None, 1])
def test_results_are_the_best_of_what_the_filter_lets_through(tmp_path: Path, nprobe: int) -> None:
    index = build(tmp_path / "i")
    index.delete(["d3"])
    filter = {"year": {"lt": 2010}, "tags": "odd"}
    ids = {f"d{i}" for i in range(1, 20, 2)} - {"d3"}
    scores = truth(QUERY, {i: tokens for i, tokens in decoded(index).items() if i in ids})
    found = index.search(QUERY, 5, filter=filter, nprobe=nprobe, n_candidates=N)
    expect_best(found, scores, 5, 1e-4)
    assert found == index.search(QUERY, 5, filter=ids, nprobe=nprobe, n_candidates=N)
    queries = corpus([4, 3], seed=9)
    assert index.search_batch(queries, 5, filter=filter) == [
        index.search(query, 5, filter=filter) for query in queries
    ]


def test_masks_are_made_once_for_a_state(tmp_path: Path) -> None:
    index = build(tmp_path / "i")
    filter = {"year": {"gte": 2000}}
    allowed(index, filter)
    views = index._state.views
    view = views._views[next(iter(views._views))]
    allowed(index, {"year": {"gte": 2000.0}})
    assert list(views._views.values()) == [view] or len(views._views) == 2
    allowed(index, filter)
    assert next(reversed(views._views.values())) is view
    for year in range(300):
        index.search(QUERY, 1, filter={"year": year})
    assert len(views._views) == 256
    index.delete(["d39"])
    assert allowed(index, filter) == {f"d{i}" for i in range(10, 39)}


def test_fields_are_passed_by_id_or_as_columns_too(tmp_path: Path) -> None:
    write_store(tmp_path / "store", DOCUMENTS, names(N), 7)
    by_id = {f"d{i}": RECORDS[i] for i in range(N - 1, -1, -1)} | {"other": {"year": 3}}
    forms: list[Any] = [RECORDS, iter(RECORDS), by_id, FieldTable.from_records(RECORDS)]
    folders = [tmp_path / f"i{number}" for number in range(len(forms))]
    for folder, form in zip(folders, forms, strict=True):
        PlaidIndex.build(tmp_path / "store", folder, fields=form)
    assert len({json.dumps(digests(folder), sort_keys=True) for folder in folders}) == 1


def test_an_index_without_fields_has_the_bytes_that_it_had(tmp_path: Path) -> None:
    PlaidIndex.build(DOCUMENTS, tmp_path / "none", names(N))
    PlaidIndex.build(DOCUMENTS, tmp_path / "empty", names(N), fields=[{}] * N)
    assert digests(tmp_path / "none") == digests(tmp_path / "empty")
    manifest = json.loads((tmp_path / "none" / "manifest.json").read_text())
    assert manifest["version"] == 3
    assert "fields" not in manifest
    build(tmp_path / "some")
    assert json.loads((tmp_path / "some" / "manifest.json").read_text())["version"] == 5


def test_info_says_which_fields_there_are(tmp_path: Path) -> None:
    index = build(tmp_path / "i")
    info = index.info()
    assert info["fields"] == {"lang": "text", "tags": "text", "year": "number"}
    assert info["bytes"]["fields"] > 0
    assert info["bytes"]["total"] == sum(info["bytes"].values()) / 2
    assert PlaidIndex.build(DOCUMENTS, tmp_path / "none", names(N)).info()["fields"] == {}


def test_a_field_whose_documents_are_all_deleted_stays_known(tmp_path: Path) -> None:
    index = build(tmp_path / "i", 5)
    index.add(DOCUMENTS[5:6], ["last"], fields=[{"rare": True}])
    assert allowed(index, {"rare": True}) == {"last"}
    index.delete(["last"])
    index.compact()
    assert allowed(index, {"rare": True}) == set()
    assert "rare" in read_manifest(tmp_path / "i").fields


def test_documents_added_without_fields_have_none(tmp_path: Path) -> None:
    index = build(tmp_path / "i", 5)
    index.add(DOCUMENTS[5:6], ["bare"])
    assert allowed(index, {"year": {"exists": False}}) == {"bare"}
    index.update(DOCUMENTS[:1], ["d0"])
    assert allowed(index, {"not": {"year": {"exists": True}}}) == {"bare", "d0"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([{}], "fields has 1 entries for 40 documents"),
        (3, "fields=3; pass a list with one mapping for each document"),
        ("year", "fields='year' is one string"),
        ({"x": {"year": 1}}, "fields has 1 doc_ids, as 'x', and none of the documents"),
        ([3] * N, r"fields\[0\] is 3; pass a mapping"),
        ([{"a": object()}] * N, r"the field 'a' of fields\[0\] is <object"),
        (FieldTable.empty(3), "fields has 3 entries for 40 documents"),
    ],
)
def test_what_is_no_fields_is_refused_and_nothing_is_written(
    fields: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", names(N), fields=fields)
    assert list(tmp_path.iterdir()) == []
    index = build(tmp_path / "i")
    before = digests(tmp_path / "i")
    with pytest.raises(InputError, match=message):
        index.add(DOCUMENTS, names(N, "new"), fields=fields)
    assert digests(tmp_path / "i") == before


def test_a_build_resumes_only_with_the_same_fields(tmp_path: Path) -> None:
    build(tmp_path / "a")
    other = [{**record, "year": 1} for record in RECORDS]
    PlaidIndex.build(DOCUMENTS, tmp_path / "a", names(N), fields=other, overwrite=True)
    assert allowed(PlaidIndex.load(tmp_path / "a"), {"year": 1}) == set(names(N))


@pytest.mark.parametrize("at", [-1, 130, 300])
def test_damaged_fields_are_refused_before_they_are_used(at: int, tmp_path: Path) -> None:
    index = build(tmp_path / "i", 30)
    index.add(DOCUMENTS[30:], names(N)[30:], fields=RECORDS[30:], merge=False)
    path = tmp_path / "i" / "segment-00001" / "fields.npy"
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    damaged = PlaidIndex.load(tmp_path / "i")
    assert len(damaged.search(QUERY, 5)) == 5  # what needs no fields is whole
    for use in (
        lambda: damaged.search(QUERY, filter={"year": 1990}),
        lambda: damaged.filter({"year": 1990}),
        lambda: damaged.compact(),
        lambda: PlaidIndex.check(tmp_path / "i"),
    ):
        for _ in range(2):
            with pytest.raises(StorageError, match=r"segment-00001/fields\.npy"):
                use()


def test_a_missing_or_short_file_of_fields_is_named(tmp_path: Path) -> None:
    build(tmp_path / "i")
    path = tmp_path / "i" / "segment-00000" / "fields.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StorageError, match=r"fields\.npy"):
        PlaidIndex.load(tmp_path / "i")
    path.unlink()
    with pytest.raises(StorageError, match=r"fields\.npy"):
        PlaidIndex.load(tmp_path / "i")
