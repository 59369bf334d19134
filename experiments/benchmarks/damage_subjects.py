"""What damage.py damages: indexes and embedding stores, finished and not, with every use of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from colmodern import EmbeddingStore, ExactIndex, PlaidIndex, TokenEmbeddings
from colmodern.index.plaid.write import build, tiers
from colmodern.index.plaid.write import settings as build_settings
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.store import ShardWriter

KINDS = ((1, "pq"), (2, "residual"), (4, "pq"), (4, "residual"), (8, "pq"))
DTYPES = ("float16", "float32")

_IDS = [f"première-{i}" for i in range(150)]
_FINGERPRINT = "f" * 64
_SHARD_DOCS = 40

Answers = Iterator[tuple[str, Any]]
Way = Callable[[Path], Answers]


@dataclass(frozen=True)
class Subject:
    """Something on disk. ``make`` gets a folder to put it in, and so does each of its ways.

    is_flipped_only: whether it has too many files to do every kind of damage to each
    """

    name: str
    make: Callable[[Path], None]
    ways: tuple[Way, ...]
    has_manifest: bool = True
    is_flipped_only: bool = False


def subjects(seed: int) -> list[Subject]:
    """Indexes and stores of every kind; those with a history have another one for each seed."""
    all_subjects = []
    for nbits, codec in KINDS:
        name, kind = f"{nbits}-{codec}", {"nbits": nbits, "codec": codec}
        all_subjects.append(Subject(f"index-{name}", partial(_build, kind), (use, write)))
        history = partial(_build_with_history, kind, seed)
        all_subjects.append(Subject(f"history-{name}", history, (use_all,), is_flipped_only=True))
    unfinished = partial(_leave_build, "publish")
    all_subjects.append(Subject("unfinished-index", unfinished, (go_on_building,), False))
    half = partial(_leave_build, "write_inverted_lists")
    all_subjects.append(Subject("half-an-index", half, (go_on_building,), False))
    for dtype in DTYPES:
        all_subjects.append(Subject(f"store-{dtype}", partial(_encode, dtype), (use_store,)))
        begun = partial(_encode, dtype, n_docs=3 * _SHARD_DOCS)
        resume = partial(go_on_encoding, dtype)
        all_subjects.append(Subject(f"unfinished-store-{dtype}", begun, (resume,), False))
    return all_subjects


def corpus(n: int, seed: int, dim: int = 32) -> TokenEmbeddings:
    """Random unit rows."""
    rng = np.random.default_rng(seed)
    offsets = offsets_of(rng.integers(2, 12, n))
    values = rng.standard_normal((offsets[-1], dim)).astype(np.float32)
    return TokenEmbeddings(values / np.linalg.norm(values, axis=1, keepdims=True), offsets)


def _build(kind: dict[str, Any], folder: Path) -> None:
    """An index of two segments, with deletions in both."""
    index = PlaidIndex.build(corpus(150, 0), folder / "i", _IDS, **kind)
    index.add(corpus(40, 1), [f"n{i}" for i in range(40)], merge=False)
    index.delete(["première-3", "n5", "n6"])


def _build_with_history(kind: dict[str, Any], seed: int, folder: Path) -> None:
    """An index of many segments and deletions, after random changes of every kind."""
    rng = random.Random(seed)
    ids = set(_IDS)
    with patch.object(tiers, "SMALL", 60):
        index = PlaidIndex.build(corpus(150, 0), folder / "i", _IDS, **kind)
        for number in range(30):
            change = rng.choice(("add", "add", "update", "delete", "merge", "compact"))
            new = [f"{number}-{i}" for i in range(rng.randrange(1, 9))]
            more = corpus(len(new), seed * 1000 + number)
            if change == "compact" and rng.random() < 0.3:
                index.compact()
            elif change == "delete":
                gone = rng.sample(sorted(ids), 4)
                index.delete(gone)
                ids -= set(gone)
            elif change == "update":
                new = rng.sample(sorted(ids), len(new))
                index.update(more, new, merge=False)
            else:
                index.add(more, new, merge=change == "merge")
                ids |= set(new)
        for number in range(4):
            index.add(corpus(2, number), [f"last-{number}-{i}" for i in range(2)], merge=False)
            index.delete([f"last-{number}-0"])


def use(folder: Path) -> Answers:
    """Every use of an index with its answers."""
    folder = folder / "i"
    query, others = corpus(1, 7)[0], corpus(3, 8)
    index = PlaidIndex.load(folder, n_threads=1)
    yield "load", index.n_docs
    doc_ids = [f"première-{i}" for i in range(0, 150, 3)]

    def searches(when: str) -> Answers:
        yield f"search {when}", index.search(query, 5, nprobe=2, n_candidates=20)
        yield f"default {when}", index.search(query, 10)
        yield f"all {when}", index.search(query, 200)
        yield f"exact {when}", index.search(query, 20, exact=True)
        yield f"filter {when}", index.search(query, 5, filter=doc_ids, n_candidates=20)
        yield f"batch {when}", index.search_batch(others, 7, nprobe=1, n_candidates=10)

    yield from searches("at first")
    for doc_id in ("première-7", "n9"):
        yield "explain", repr(index.explain(query, doc_id, 5))
    yield "function", index.search(query, 9, filter=lambda doc_id: doc_id.endswith("1"))
    yield "info", index.info()["documents"]
    yield "delete", index.delete(["n10", "première-20"])
    yield from searches("after delete")
    index.add(corpus(5, 2), [f"z{i}" for i in range(5)])
    yield from searches("after add")
    index.compact()
    yield from searches("after compact")
    PlaidIndex.check(folder)
    yield "check", None


def write(folder: Path) -> Answers:
    """Changes only, by a process that never searches: what they copy must be right."""
    folder = folder / "i"
    index = PlaidIndex.load(folder, n_threads=1)
    yield "delete", index.delete(["n10", "première-20"])
    index.add(corpus(5, 2), [f"z{i}" for i in range(5)])
    index.compact()
    yield "compact", index.n_docs
    PlaidIndex.check(folder)
    yield "all", index.search(corpus(1, 7)[0], 200)


def use_all(folder: Path) -> Answers:
    """Searches and changes of an index whose documents are not known by name."""
    folder = folder / "i"
    query = corpus(1, 7)[0]
    index = PlaidIndex.load(folder, n_threads=1)
    yield "all at first", (every := index.search(query, 400))
    yield "some at first", index.search(query, 5, nprobe=2, n_candidates=20)
    yield "exact at first", index.search(query, 20, exact=True)
    yield "update", index.update(corpus(3, 3), [doc.doc_id for doc in every[:3]])
    yield "all after update", index.search(query, 400)
    yield "delete", index.delete([doc.doc_id for doc in every[5:9]])
    index.compact()
    yield "all after compact", index.search(query, 400)
    PlaidIndex.check(folder)
    yield "check", None


class _StopError(Exception):
    """In the middle of a build."""


def _leave_build(function: str, folder: Path) -> None:
    """A build that stopped when it called a function."""
    with patch.object(build, function, side_effect=_StopError), _small_chunks():
        try:
            PlaidIndex.build(corpus(150, 0), folder / "i", _IDS)
        except _StopError:
            return
    raise AssertionError(function)


def _small_chunks() -> Any:
    """So that a small collection has many."""
    small = {"_LARGEST_CHUNK": 200, "_SMALLEST_CHUNK": 1}
    return patch.multiple(build_settings, **small)


def go_on_building(folder: Path) -> Answers:
    """The same build again, which has to make the same files."""
    with _small_chunks():
        index = PlaidIndex.build(corpus(150, 0), folder / "i", _IDS)
    yield "all", index.search(corpus(1, 7)[0], 200)
    yield "files", _digests(folder)


def _encode(dtype: str, folder: Path, n_docs: int = 150) -> None:
    """A store of four shards, or the first of them."""
    with ShardWriter(folder / "s", fingerprint=_FINGERPRINT, dtype=dtype) as writer:
        _encode_rest(writer, dtype, n_docs)
        if n_docs == 150:
            writer.finish(role="document", environment={"python": "3"})


def _encode_rest(writer: ShardWriter, dtype: str, n_docs: int = 150) -> None:
    whole = corpus(150, 0)
    if dtype == "float16":  # the other store has no token ids
        ids = np.arange(whole.n_tokens, dtype=np.int32) % 97
        whole = TokenEmbeddings(whole.values, whole.offsets, ids)
    for start in range(writer.n_docs, n_docs, _SHARD_DOCS):
        stop = start + _SHARD_DOCS
        if writer.has_ahead(len(writer.shards), _IDS[start:stop]):
            writer.adopt()
        else:
            writer.add(whole[start:stop], _IDS[start:stop], facts={"seconds": 1.0})


def use_store(folder: Path) -> Answers:
    """Every use of a store with its answers."""
    query, others = corpus(1, 7)[0], corpus(3, 8)
    store = EmbeddingStore(folder / "s")
    yield "open", (store.n_docs, store.n_tokens, store.dim)
    yield "ids", store.doc_ids
    yield "select", store.select([149, 3, 77]).values.tobytes()
    for precision in ("float32", "int8"):
        index = ExactIndex.load(folder / "s", precision=precision)  # type: ignore[arg-type]
        yield f"search {precision}", index.search(query, 20)
        yield f"batch {precision}", index.search_batch(others, 20)
    plaid = PlaidIndex.build(folder / "s", folder / "i", nbits=2)
    yield "all", plaid.search(query, 150)
    yield "rescore", plaid.search(query, 20, n_candidates=40, rescore=store)
    whole = store.to_memory(dtype=None)
    ids = b"" if whole.token_ids is None else whole.token_ids.tobytes()
    yield "memory", (whole.values.tobytes(), whole.offsets.tobytes(), ids)
    yield "chunks", [chunk.values.tobytes() for _, chunk in EmbeddingStore(folder / "s").chunks(50)]
    yield "manifest", (store.manifest["dtype"], store.manifest["shards"])
    store.verify()
    EmbeddingStore(folder / "s", verify="full")
    yield "verify", None


def go_on_encoding(dtype: str, folder: Path) -> Answers:
    """The rest of an encoding that was interrupted, which has to make the same files."""
    with ShardWriter(folder / "s", fingerprint=_FINGERPRINT, dtype=dtype) as writer:
        _encode_rest(writer, dtype)
        store = writer.finish(role="document", environment={"python": "3"})
    store.verify()
    yield "files", _digests(folder)


def _digests(folder: Path) -> dict[str, str]:
    """Of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
