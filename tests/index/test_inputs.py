"""What indexes take as queries, ids and counts: the same in each of them, and the same refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from index.plaid.corpora import corpus

from colmodern import ExactIndex, PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError

NAMES = [f"d{i}" for i in range(6)]
DOCUMENTS = corpus([5, 3, 4, 0, 7, 2])
QUERY = np.asarray(corpus([4], seed=1).values, np.float32)


@pytest.fixture(scope="module", params=["exact", "int8", "plaid"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "plaid":
        return PlaidIndex.build(DOCUMENTS, tmp_path_factory.mktemp("p") / "i", NAMES)
    precision = "int8" if request.param == "int8" else "float32"
    return ExactIndex(DOCUMENTS, NAMES, precision=precision)


def strided(query: np.ndarray) -> np.ndarray:
    wide = np.zeros((2 * len(query), 2 * query.shape[1]), query.dtype)
    wide[::2, ::2] = query
    return wide[::2, ::2]


@pytest.mark.parametrize(
    "form",
    [
        lambda query: query.tolist(),
        lambda query: query.astype(np.float16),
        lambda query: query.astype(np.float64),
        lambda query: query.astype(np.longdouble),
        lambda query: query.astype(">f4"),
        lambda query: np.asfortranarray(query),
        strided,
        lambda query: torch.tensor(query),
        lambda query: torch.tensor(query, requires_grad=True),
        lambda query: torch.tensor(query).half(),
        lambda query: torch.tensor(query).bfloat16(),
        lambda query: torch.tensor(query.T.copy()).T,
        lambda query: list(torch.tensor(query)),
    ],
)
def test_a_query_is_taken_in_any_form_of_floats(index: Any, form: Any) -> None:
    query = torch.tensor(QUERY).bfloat16().float().numpy()  # which all of the forms can hold
    assert index.search(form(query), 3) == index.search(query, 3)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (QUERY[None], r"query has shape \(1, 4, 16\).*or many with search_batch"),
        (QUERY[0], r"query has shape \(16,\) and dtype float32; pass \(n_query_tokens, dim\)"),
        (QUERY[:, :8], "query has dim=8, the index has dim=16"),
        (np.ones((2, 16), int), r"query has shape \(2, 16\) and dtype int64; pass"),
        (np.ones((2, 16), bool), "dtype bool"),
        (QUERY.astype(complex), "dtype complex128"),
        (QUERY.astype(object), "dtype object"),
        (QUERY.astype(str), "dtype <U"),
        (torch.ones(2, 16).to_sparse(), "query is Tensor, which cannot be read"),
        (torch.ones(2, 16, device="meta"), "query is Tensor, which cannot be read"),
        (np.ma.masked_greater(QUERY, 0), "query has masked values"),
        ([[1.0, 2.0], [1.0]], "query is list, which cannot be read as one array"),
        ([], r"query has shape \(0,\)"),
        ("wing", "query='wing'; pass a"),
        (b"wing", "query=b'wing'; pass a"),
        (None, "query=None; pass a"),
        (7.5, r"query has shape \(\)"),
        ({"a": 1}, r"query=\{'a': 1\}; pass a"),
        ({1.0, 2.0}, r"query=\{1.0, 2.0\}; pass a"),
        (object(), r"query has shape \(\) and dtype object"),
        (corpus([3]), "query is TokenEmbeddings; pass one"),
    ],
)
def test_what_is_no_query_is_refused(index: Any, query: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        index.search(query)
    if isinstance(index, PlaidIndex):
        with pytest.raises(InputError, match=message):
            index.explain(query, "d1")


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([QUERY, QUERY], "queries is list; pass TokenEmbeddings, which TokenEmbeddings.from_list"),
        (np.stack([QUERY, QUERY]), r"queries is ndarray of shape \(2, 4, 16\); pass Token"),
        (QUERY, r"queries is ndarray of shape \(4, 16\); pass TokenEmbeddings"),
        (torch.ones(2, 4, 16), r"queries is Tensor of shape \(2, 4, 16\); pass TokenEmbeddings"),
        ("wing", "queries is str; pass TokenEmbeddings"),
        (None, "queries is NoneType; pass TokenEmbeddings"),
        (corpus([3], 8), "queries has dim=8, the index has dim=16"),
    ],
)
def test_what_are_no_queries_is_refused(index: Any, queries: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        index.search_batch(queries)


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "3", None, np.float32(2), np.True_, [1], 1 + 0j])
def test_k_is_a_whole_number_of_at_least_one(index: Any, k: object) -> None:
    queries = TokenEmbeddings.from_list([QUERY])
    for search in (lambda: index.search(QUERY, k), lambda: index.search_batch(queries, k)):
        with pytest.raises(InputError, match=r"k=.*; pass a whole number, at least 1"):
            search()


@pytest.mark.parametrize("k", [6, np.int8(100), np.uint64(1 << 63), 1 << 70, 10**400])
def test_any_k_above_the_documents_returns_them_all(index: Any, k: int) -> None:
    expected = index.search(QUERY, 6)
    assert len(expected) == 6
    assert index.search(QUERY, k) == expected
    assert index.search_batch(TokenEmbeddings.from_list([QUERY]), k) == [expected]


WRONG_IDS = [
    ("d", "doc_ids='d' is one string; pass a list"),
    (b"d", "is bytes; pass a list"),
    ({"a": 1}, "is a dict, whose keys would be taken; pass a list"),
    ({"a", "b", "c"}, "doc_ids is a set, which has no order"),
    (7, "doc_ids=7; pass a list"),
    (np.array("a"), "pass a list of ids"),
    ([1, 2, 3], r"doc_ids has ids that are not strings: doc_ids\[0\] is int 1; pass strings"),
    (["a", None, "c"], r"doc_ids\[1\] is NoneType None"),
    (["a", b"b", "c"], r"doc_ids\[1\] is bytes b'b'"),
    (np.arange(3), r"doc_ids\[0\] is int64"),
    (np.array([["a"], ["b"], ["c"]]), r"doc_ids\[0\] is ndarray"),
    (["a", "b"], "doc_ids has 2 entries for 3 documents"),
    (["a", "", "c"], r"doc_ids\[1\] is empty"),
    (["a", "b\0", "c"], r"doc_ids\[1\] is 'b\\x00', which holds NUL"),
    (["a", "b", "\ud83d"], r"doc_ids\[2\] is '\\ud83d', which has half a surrogate pair"),
    (["a", "b", "a"], r"doc_ids\[0\] and doc_ids\[2\] are both 'a'"),
]


@pytest.mark.parametrize(("doc_ids", "message"), WRONG_IDS)
def test_wrong_ids_are_refused(tmp_path: Path, doc_ids: Any, message: str) -> None:
    texts = corpus([2, 1, 3])
    with pytest.raises(InputError, match=message):
        ExactIndex(texts, doc_ids)
    with pytest.raises(InputError, match=message):
        PlaidIndex.build(texts, tmp_path / "i", doc_ids)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "form",
    [
        np.array,
        tuple,
        iter,
        lambda ids: np.array(ids, object),
        lambda ids: dict.fromkeys(ids).keys(),
    ],
)
def test_ids_are_taken_in_any_form_that_has_an_order(form: Any) -> None:
    ids = ["b", "a", "c"]
    index = ExactIndex(corpus([2, 1, 3]), form(ids))
    assert index.doc_ids == ids
    assert all(type(doc_id) is str for doc_id in index.doc_ids)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (
            [QUERY, QUERY],
            "embeddings is list; pass TokenEmbeddings, which TokenEmbeddings.from_list",
        ),
        (np.ones((3, 4, 16)), r"embeddings is ndarray of shape \(3, 4, 16\); pass TokenEmbeddings"),
        (torch.ones(3, 4, 16), r"embeddings is Tensor of shape \(3, 4, 16\); pass Token"),
        (None, "embeddings is NoneType; pass TokenEmbeddings"),
        ({"a": QUERY}, "embeddings is dict; pass TokenEmbeddings"),
    ],
)
def test_what_are_no_embeddings_is_refused(tmp_path: Path, embeddings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExactIndex(embeddings)
    with pytest.raises(InputError, match=message):
        PlaidIndex.build(embeddings, tmp_path / "i")
    plaid = PlaidIndex.build(corpus([5, 3]), tmp_path / "i")
    with pytest.raises(InputError, match=message):
        plaid.add(embeddings, ["x"])
    with pytest.raises(InputError, match=message):
        plaid.update(embeddings, ["x"])
    if embeddings is not None:
        with pytest.raises(InputError, match=message.replace("embeddings is", "rescore is")):
            plaid.search(QUERY, rescore=embeddings)


@pytest.mark.parametrize("doc_ids", [{"d1": 1}, 7, None, "d1", b"d1", [1], np.array("d1")])
def test_what_are_no_ids_deletes_nothing(tmp_path: Path, doc_ids: Any) -> None:
    plaid = PlaidIndex.build(DOCUMENTS, tmp_path / "i", NAMES)
    with pytest.raises(InputError, match=r"pass (a list of ids|strings)"):
        plaid.delete(doc_ids)
    assert plaid.n_docs == 6
    assert plaid.delete(np.array(["d1", "d2"])) == 2
