"""BM25 beside bm25s itself and beside the formula, and what an index on disk has to bear."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest

from colmodern import BM25Index
from colmodern.errors import ColmodernError, InputError, MissingExtraError, StorageError
from colmodern.index.base import TextIndex
from colmodern.index.bm25.files import FILES, NAME

needs_stemmer = pytest.mark.skipif(
    find_spec("Stemmer") is None, reason="PyStemmer is not installed: pip install '.[bm25]'"
)
VOCABULARY = [
    *("wing", "lift", "drag", "flow", "heat", "speed", "shock", "jet", "the", "of", "wings"),
    *("naïve", "strömung", "翼型", "x1", "don"),
]
DOCUMENTS = {
    f"d{number:02d}": " ".join(random.Random(number).choices(VOCABULARY, k=3 + 7 * (number % 5)))
    for number in range(40)
}
QUERIES = [
    "wing lift",
    "The lift of a WING, the wing",
    "strömung 翼型",
    "unknown words",
    "",
    "of the",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> BM25Index:
    return build(DOCUMENTS, tmp_path_factory.mktemp("bm25") / "index")


def build(documents: Any, path: Path, **options: Any) -> BM25Index:
    """An index without stemming, which needs a package more."""
    return BM25Index.build(documents, path, **{"stemmer": None, **options})


def words_of(text: str) -> list[str]:
    stop_words = set(bm25s.stopwords.STOPWORDS_EN)
    return [w for w in re.findall(r"\b\w\w+\b", text.lower()) if w not in stop_words]


def scores_by_formula(query: str, k1: float, b: float) -> dict[str, float]:
    """Lucene's BM25, a document and a word at a time."""
    counts = {doc_id: Counter(words_of(text)) for doc_id, text in DOCUMENTS.items()}
    mean = sum(sum(count.values()) for count in counts.values()) / len(counts)
    scores = dict.fromkeys(counts, 0.0)
    for word in words_of(query):
        n = sum(word in count for count in counts.values())
        idf = math.log(1 + (len(counts) - n + 0.5) / (n + 0.5))
        for doc_id, count in ((d, c) for d, c in counts.items() if word in c):
            length = 1 - b + b * sum(count.values()) / mean
            scores[doc_id] += idf * count[word] / (count[word] + k1 * length)
    return {doc_id: score for doc_id, score in scores.items() if score}


def test_it_meets_the_protocol(index: BM25Index) -> None:
    opened: TextIndex = index
    assert (opened.n_docs, len(opened)) == (40, 40)
    assert all(doc_id in opened for doc_id in DOCUMENTS)
    assert not any(other in opened for other in ("d40", "", 0, None, ["d00"]))


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.75), (0.0, 0.0), (1.2, 1.0)])
def test_results_are_those_of_the_formula(tmp_path: Path, k1: float, b: float) -> None:
    index = build(DOCUMENTS, tmp_path / "index", k1=k1, b=b)
    for query in QUERIES:
        expected = scores_by_formula(query, k1, b)
        results = index.search(query, 40)
        assert {doc_id for doc_id, _ in results} == set(expected)
        assert results == sorted(results, key=lambda result: (-result.score, result.doc_id))
        for doc_id, score in results:
            assert score == pytest.approx(expected[doc_id], abs=1e-5)


def test_scores_are_those_of_bm25s(index: BM25Index) -> None:
    library = bm25s.BM25(k1=0.9, b=0.4)
    library.index(
        bm25s.tokenize(list(DOCUMENTS.values()), show_progress=False), show_progress=False
    )
    for query in QUERIES[:3]:
        tokens = bm25s.tokenize([query], return_ids=False, show_progress=False)
        docs, scores = library.retrieve(tokens, k=40, show_progress=False)
        expected = {f"d{d:02d}": s for d, s in zip(docs[0], scores[0], strict=True) if s > 0}
        assert {doc_id: np.float32(s) for doc_id, s in index.search(query, 40)} == expected


def test_bm25s_opens_the_folder(index: BM25Index) -> None:
    library = bm25s.BM25.load(index.info()["path"], mmap=True)
    _, scores = library.retrieve([["wing", "lift"]], k=5, show_progress=False)
    results = index.search("wing lift", 5)
    assert [s for _, s in results] == scores[0].tolist()


def test_a_batch_answers_as_searches_one_by_one_and_k_cuts(index: BM25Index) -> None:
    for k in (1, 7, 1000):
        batch = index.search_batch(QUERIES, k)
        assert batch == [index.search(query, k) for query in QUERIES]
        assert [results[:k] for results in index.search_batch(QUERIES, 40)] == batch
    assert len(index.search("wing")) == 10
    assert index.search_batch(iter([])) == []


def test_equal_scores_are_ordered_by_document_id(tmp_path: Path) -> None:
    index = build([(f"d{(7 * i) % 20:02d}", "wing lift") for i in range(20)], tmp_path / "index")
    for k in (3, 20):
        assert [doc_id for doc_id, _ in index.search("lift", k)] == [f"d{i:02d}" for i in range(k)]


def test_settings_of_words_are_kept(tmp_path: Path) -> None:
    documents = {"a": "die Flügel des Vogels", "b": "Strömung-Lehre"}
    kept = {"stop_words": "german", "token_pattern": r"[\w-]+"}
    index = build(documents, tmp_path / "german", **kept)
    assert index.search("des") == []
    assert [
        doc_id for doc_id, _ in BM25Index.load(tmp_path / "german").search("strömung-lehre")
    ] == ["b"]
    assert index.info()["settings"] == {"k1": 0.9, "b": 0.4, "stemmer": None, **kept}
    own = build(documents, tmp_path / "own", stop_words=["vogels"], token_pattern=r"\w+")
    assert own.search("Vogels") == []
    assert own.search("des")
    assert build(documents, tmp_path / "all", stop_words=None).search("die")


@needs_stemmer
def test_stems_are_those_of_the_stemmer(tmp_path: Path) -> None:
    import Stemmer

    index = BM25Index.build({"a": "running generously", "b": "runs"}, tmp_path / "index")
    assert {doc_id for doc_id, _ in index.search("run")} == {"a", "b"}
    stems = Stemmer.Stemmer("porter").stemWords(["running", "generously", "runs"])
    assert set(json.loads((tmp_path / "index" / "vocab.index.json").read_text())) == set(stems)
    with pytest.raises(InputError, match=r"stemmer='klingon'; choose one of .*porter"):
        BM25Index.build({}, tmp_path / "other", stemmer="klingon")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Stemmer", None)
    with pytest.raises(MissingExtraError, match=r"'Stemmer' .*colmodern\[bm25\]"):
        BM25Index.build({"a": "x"}, tmp_path / "index")
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r"'bm25s' .*colmodern\[bm25\]"):
        build({"a": "x"}, tmp_path / "index")
    assert not list(tmp_path.iterdir())


def test_documents_without_words_are_kept(tmp_path: Path) -> None:
    for documents in ({}, {"a": ""}, {"a": "the", "b": "of"}):
        path = tmp_path / str(len(documents))
        index = build(documents, path, overwrite=True)
        assert index.n_docs == len(documents)
        assert index.search("the wing") == []
        BM25Index.check(path)


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    build(DOCUMENTS, tmp_path / "a")
    build(iter(DOCUMENTS.items()), tmp_path / "b")
    for name in (*FILES, NAME):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_pickle_opens_as_the_same_index(index: BM25Index) -> None:
    copy = pickle.loads(pickle.dumps(index))
    assert copy.search_batch(QUERIES) == index.search_batch(QUERIES)
    assert copy.info() == index.info()


def test_a_closed_index_refuses_every_use(tmp_path: Path) -> None:
    index = build(DOCUMENTS, tmp_path / "index")
    index.close()
    index.close()
    assert repr(index) == "BM25Index(closed)"
    uses: list[Callable[[], object]] = [
        lambda: index.search("wing"),
        lambda: index.search_batch(["wing"]),
        index.info,
        lambda: index.n_docs,
        lambda: len(index),
        lambda: "d00" in index,
        lambda: pickle.dumps(index),
    ]
    for use in uses:
        with pytest.raises(InputError, match="the index is closed; open it again"):
            use()


def test_it_cannot_be_changed(index: BM25Index) -> None:
    for change in (index.add, index.update, index.delete, index.compact):
        with pytest.raises(InputError, match=r"does not change: .*build it again"):
            change(["d00"])


@pytest.mark.parametrize(
    ("documents", "options", "message"),
    [
        (["text"], {}, r"documents\[0\] is 'text'; pass \(id, text\) pairs"),
        ("text", {}, r"documents='text'; pass \(id, text\) pairs"),
        (3, {}, r"documents=3; pass"),
        ({"a": None}, {}, r"documents\[0\]\[1\] is None; pass a text"),
        ({"a": "\ud800"}, {}, r"documents\[0\]\[1\] is .* half a surrogate"),
        ([("a", "x"), ("a", "y")], {}, r"doc_ids\[0\] and doc_ids\[1\] are both 'a'"),
        ([("", "x")], {}, r"doc_ids\[0\] is empty"),
        ({"a": "x"}, {"k1": -1}, r"k1=-1; pass a number, at least 0"),
        ({"a": "x"}, {"k1": float("inf")}, r"k1=inf; pass a number"),
        ({"a": "x"}, {"b": 1.5}, r"b=1\.5; pass a number, from 0 to 1"),
        ({"a": "x"}, {"b": True}, r"b=True; pass a number"),
        ({"a": "x"}, {"stop_words": "klingon"}, r"stop_words='klingon': bm25s has no such list"),
        ({"a": "x"}, {"stop_words": [1]}, r"stop_words=\(1,\); pass a language"),
        ({"a": "x"}, {"token_pattern": "("}, r"token_pattern='\(' is not a regular expression"),
        ({"a": "x"}, {"token_pattern": "(a)(b)"}, r"token_pattern=.* with at most one group"),
        ({"a": "x"}, {"token_pattern": 3}, r"token_pattern=3 is not a regular expression"),
    ],
)
def test_what_cannot_be_indexed_is_refused(
    tmp_path: Path, documents: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        build(documents, tmp_path / "index", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("k", [0, -1, 2.0, None, "3"])
def test_k_is_a_number_from_one(index: BM25Index, k: Any) -> None:
    for search, query in ((index.search, "wing"), (index.search_batch, ["wing"])):
        with pytest.raises(InputError, match=r"^k=.*; pass a whole number"):
            search(query, k)


def test_queries_are_texts(index: BM25Index) -> None:
    with pytest.raises(InputError, match=r"query is array.*; pass a text"):
        index.search(np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"queries\[1\] is 3; pass a text"):
        index.search_batch(["wing", 3])
    with pytest.raises(InputError, match=r"queries='wing' is one string"):
        index.search_batch("wing")


def test_an_older_index_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build({"a": "wing"}, path)
    with pytest.raises(StorageError, match=r"exists; choose another folder.*overwrite=True"):
        build({"b": "wing"}, path)
    with pytest.raises(InputError):
        build({"b": None}, path, overwrite=True)
    assert BM25Index.load(path).search("wing") == build({"a": "wing"}, tmp_path / "b").search(
        "wing"
    )
    assert "b" in build({"b": "wing"}, path, overwrite=True)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="holds other files"):
        build({"c": "wing"}, path, overwrite=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"index", "b"}


def test_a_replacement_that_was_killed_between_its_renames_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build({"a": "wing"}, path)
    os.rename(path, tmp_path / ".index.replaced")
    with pytest.raises(StorageError, match="exists"):
        build({"b": "wing"}, path)
    assert "a" in BM25Index.load(path)


@pytest.mark.parametrize("name", [*FILES, NAME])
@pytest.mark.parametrize("damage", ["changed", "short", "missing"])
def test_damage_is_named_and_never_searched(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / "index"
    build(DOCUMENTS, path)
    content = (path / name).read_bytes()
    if damage == "missing":
        (path / name).unlink()
    else:
        changed = content[:-2] if damage == "short" else content[:-2] + bytes([content[-2] ^ 1, 0])
        (path / name).write_bytes(changed)
    with pytest.raises(ColmodernError, match=re.escape(str(path))):
        BM25Index.check(path)
    if name != "params.index.json":  # which only bm25s reads
        with pytest.raises(StorageError, match=re.escape(str(path))):
            BM25Index.load(path).search("wing")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no BM25 index; build it first"):
        BM25Index.load(tmp_path / "none")
    (tmp_path / NAME).write_text('{"format": "colmodern-plaid"}')
    with pytest.raises(StorageError, match="has format='colmodern-plaid'"):
        BM25Index.load(tmp_path)
    (tmp_path / NAME).write_text('{"format": "colmodern-bm25", "version": 9}')
    with pytest.raises(StorageError, match="has version=9; this colmodern reads version 1"):
        BM25Index.load(tmp_path)


@pytest.mark.parametrize("query", QUERIES)
def test_a_filter_keeps_scores_and_order_of_what_it_allows(index: BM25Index, query: str) -> None:
    allowed = {f"d{number:02d}" for number in range(0, 40, 3)}
    expected = [result for result in index.search(query, 40) if result.doc_id in allowed]
    for filter in (sorted(allowed), allowed.__contains__, index.filter(allowed)):
        assert index.search(query, 40, filter=filter) == expected
        assert index.search(query, 3, filter=filter) == expected[:3]
        assert index.search_batch([query, "wing"], 3, filter=filter)[0] == expected[:3]
    assert index.search(query, filter=[]) == []


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({"year": 2020}, "filter={'year': 2020} has conditions, and a BM25 index keeps no fields"),
        ("d00", "filter='d00'"),
        (["x"], r"filter has 1 ids, and the index has none of them \(the first is 'x'\)"),
        (lambda _: 3, "filter returned 3 for doc_id='d00'"),
        (3, "filter=3"),
    ],
)
def test_what_is_no_filter_is_refused(index: BM25Index, filter: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        index.search("wing", filter=filter)


def test_a_filter_of_another_index_is_refused(index: BM25Index, tmp_path: Path) -> None:
    other = build(DOCUMENTS, tmp_path / "other")
    with pytest.raises(InputError, match="filter was made by another index"):
        index.search("wing", filter=other.filter(["d00"]))
