"""What PlaidIndex refuses, and that nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index.plaid.corpora import corpus, lengths_like_passages, names, write_store

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError, ResourceError, StorageError
from colmodern.ragged.offsets import offsets_of

DOCUMENTS = corpus(lengths_like_passages(300))
QUERIES = corpus([1, 7, 32, 33, 12, 70], seed=1)


@pytest.fixture(scope="module")
def plaid(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    return PlaidIndex.build(DOCUMENTS, tmp_path_factory.mktemp("plaid") / "i", names(300))


def test_unusable_queries_are_refused(plaid: PlaidIndex) -> None:
    bad = np.ones((2, 16), np.float32)
    bad[1, 3] = np.nan
    with pytest.raises(InputError, match="query has values that are not finite"):
        plaid.search(bad)
    with pytest.raises(InputError, match="query has values that are not finite"):
        plaid.search(np.full((1, 16), 1e300))
    with pytest.raises(InputError, match=r"queries\[1\] has values that are not finite"):
        plaid.search_batch(
            TokenEmbeddings.unchecked(np.concatenate([bad[:1], bad]), offsets_of([1, 2]))
        )
    with pytest.raises(InputError, match=r"query has dim=8.*dim=16.*same encoder"):
        plaid.search(np.ones((2, 8)))
    with pytest.raises(InputError, match=r"queries has dim=8.*dim=16"):
        plaid.search_batch(corpus([2], 8))
    with pytest.raises(InputError, match=r"query has shape \(16,\).*pass \(n_query_tokens, dim\)"):
        plaid.search(np.ones(16))
    with pytest.raises(InputError, match="query has shape"):
        plaid.search(np.array([["a"] * 16]))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"k": 0}, "k=0; pass a whole number"),
        ({"k": 2.0}, r"k=2\.0; pass a whole number"),
        ({"k": None}, "k=None; pass a whole number"),
        ({"nprobe": 0}, "nprobe=0; "),
        ({"nprobe": 2.5}, r"nprobe=2\.5; "),
        ({"n_candidates": 0}, "n_candidates=0; "),
        ({"n_candidates": 9}, "n_candidates=9 is below k=10"),
        ({"n_threads": 0}, "n_threads=0; "),
        ({"filter": 5}, "filter=5; pass a list"),
        ({"filter": "d1"}, "filter='d1' is one string"),
    ],
)
def test_wrong_settings_are_refused(plaid: PlaidIndex, asked: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plaid.search(QUERIES[1], **asked)


def test_queries_of_another_encoder_are_refused(tmp_path: Path) -> None:
    about = {"encoder": {"fingerprint": "a" * 64}}
    store = write_store(tmp_path / "s", DOCUMENTS, names(300), 300, **about)
    index = PlaidIndex.build(store, tmp_path / "i")
    assert index.info()["fingerprint"] == "a" * 64
    assert index.search(QUERIES[1], fingerprint="a" * 64) == index.search(QUERIES[1])
    with pytest.raises(InputError, match=r"fingerprint=bbbb.* is not the index's aaaa"):
        index.search(QUERIES[1], fingerprint="b" * 64)
    other = write_store(tmp_path / "q", QUERIES, names(6), 6, encoder={"fingerprint": "b" * 64})
    with pytest.raises(
        InputError,
        match="built with another encoder or other encoder settings, often another document_length",
    ):
        index.search_batch(other)
    with pytest.raises(
        InputError,
        match="built with another encoder or other encoder settings, often another document_length",
    ):
        index.add(other)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"nbits": 3}, "nbits=3; choose 1, 2, 4 or 8"),
        ({"nbits": "2"}, "nbits='2'; choose 1, 2, 4 or 8"),
        ({"codec": "zip"}, "codec='zip'; choose"),
        ({"n_centroids": 0}, "n_centroids=0; pass a whole number"),
        ({"n_centroids": 2.5}, r"n_centroids=2\.5; pass"),
        ({"seed": -1}, "seed=-1; pass"),
        ({"seed": 1 << 40}, "seed=1099511627776; pass"),
        ({"max_memory": "much"}, "max_memory='much' is not a size"),
        ({"doc_ids": "abc"}, "doc_ids='abc' is one string"),
        ({"doc_ids": ["a"]}, "doc_ids has 1 entries for 3 documents"),
        ({"doc_ids": ["a", "b", "a"]}, r"doc_ids\[0\] and doc_ids\[2\] are both 'a'"),
        ({"doc_ids": ["a", "b", 3]}, r"doc_ids\[2\].*is int"),
        ({"doc_ids": ["a", "b", "\ud800"]}, "half a surrogate pair"),
    ],
)
def test_wrong_build_settings_are_refused_and_leave_nothing(
    tmp_path: Path, asked: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        PlaidIndex.build(corpus([3, 1, 2]), tmp_path / "i", **asked)
    assert list(tmp_path.iterdir()) == []


def test_unusable_embeddings_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold no tokens"):
        PlaidIndex.build(corpus([0, 0]), tmp_path / "i")
    with pytest.raises(InputError, match="dim=12; an index needs a multiple of 8"):
        PlaidIndex.build(corpus([3], 12), tmp_path / "i")
    with pytest.raises(InputError, match="embeddings is list; pass"):
        PlaidIndex.build([[1.0] * 8], tmp_path / "i")  # type: ignore[arg-type]
    with pytest.raises(ResourceError, match=r"max_memory=1000 bytes is too little; give at least"):
        PlaidIndex.build(corpus([3]), tmp_path / "i", max_memory=1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_document(
    plaid: PlaidIndex, tmp_path: Path, fault: float
) -> None:
    documents = corpus([4, 0, 3, 5])
    values = documents.values.copy()
    values[5, 2] = fault  # the second token of document 2
    broken = TokenEmbeddings.unchecked(values, documents.offsets, documents.token_ids)
    with pytest.raises(InputError, match=r"embeddings of document 2 .* not finite"):
        PlaidIndex.build(broken, tmp_path / "i")
    with pytest.raises(InputError, match=r"embeddings of document 2 .* not finite"):
        plaid.add(broken, names(4, "new"))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_argument_names_the_class_that_was_called_and_a_close_one() -> None:
    with pytest.raises(
        TypeError, match=r"^PlaidIndex\.load\(\) has no argument 'nthreads'; .*'n_threads'"
    ):
        PlaidIndex.load("i", nthreads=1)  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"^PlaidIndex\.build\(\) has no argument 'nbit'; .*'nbits'"
    ):
        PlaidIndex.build(corpus([3]), "i", nbit=2)  # type: ignore[call-arg]


def test_the_root_of_all_folders_is_no_index() -> None:
    for path in ("/", "../" * 50):
        with pytest.raises(StorageError, match="holds no PLAID index"):
            PlaidIndex.check(path)
