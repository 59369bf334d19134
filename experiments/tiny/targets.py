"""What the tiny model learns: for each of its tokens, the teacher's vector at that place in the text.

python targets.py OUT --tokenizer FOLDER --teacher FOLDER [--dim 128] COLLECTION=STORE ...

COLLECTION has corpus.jsonl, STORE is what ``colmodern encode`` made of it with the teacher; what
STORE holds beyond COLLECTION is left out.
A token's target is the mean of the teacher's rows at the word pieces that share characters with
it, as a unit row. [CLS] and [SEP] have the teacher's own; a text is cut where the teacher's ends.
OUT gets axes.npy (teacher's dim, dim), the first principal axes of all rows, and for each
collection ids.npy (n_tokens,) uint16, targets.npy (n_tokens, teacher's dim) float16, offsets.npy
(n_texts + 1,) and doc_ids.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap
from tokenizers import Tokenizer

from colmodern.ragged.store import EmbeddingStore

Rows = npt.NDArray[np.float32]
Spans = npt.NDArray[np.int64]  # (n_tokens, 2) first character and the one after the last
_EVERY = 7  # rows that principal axes are found from
_AT_ONCE = 500  # texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("pairs", nargs="+", metavar="COLLECTION=STORE")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--dim", type=int, default=128)
    options = parser.parse_args()
    pairs = [tuple(map(Path, pair.split("=", 1))) for pair in options.pairs]
    options.out.mkdir(parents=True, exist_ok=True)
    axes = options.out / "axes.npy"
    if not axes.exists():  # later collections keep the axes of the first ones
        np.save(axes, find_axes([EmbeddingStore(store) for _, store in pairs], options.dim))
    student = Tokenizer.from_file(str(options.tokenizer / "tokenizer.json"))
    teacher = Tokenizer.from_file(str(options.teacher / "tokenizer.json"))
    teacher.no_padding()
    teacher.no_truncation()
    for collection, store in pairs:
        n_tokens = write_targets(
            options.out / collection.name, collection, EmbeddingStore(store), student, teacher
        )
        print(f"{collection.name}: {n_tokens:,} tokens", flush=True)


def find_axes(stores: list[EmbeddingStore], dim: int) -> Rows:
    """(teacher's dim, dim) principal axes of unit rows, their mean not taken away."""
    total = np.zeros((stores[0].dim, stores[0].dim))
    for store in stores:
        for shard in store.shards:
            rows = np.asarray(shard.values[::_EVERY], np.float32)
            total += rows.T @ rows
    _, vectors = np.linalg.eigh(total)
    return np.ascontiguousarray(vectors[:, ::-1][:, :dim], np.float32)


def write_targets(
    out: Path, collection: Path, store: EmbeddingStore, student: Any, teacher: Any
) -> int:
    """Write the three arrays of a collection; returns how many tokens they hold."""
    with (collection / "corpus.jsonl").open(encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    text_of = {row["_id"]: f"{row['title']} {row['text']}".strip() for row in entries}
    ids: list[npt.NDArray[np.uint16]] = []
    targets: list[npt.NDArray[np.float16]] = []
    doc_ids, kept_ids = iter(store.doc_ids), []
    for _, chunk in store.chunks(1 << 40, _AT_ONCE):
        chunk_docs = [(next(doc_ids), chunk[i]) for i in range(chunk.n_docs)]
        kept = [(text_of[doc_id], rows) for doc_id, rows in chunk_docs if doc_id in text_of]
        kept_ids += [doc_id for doc_id, _ in chunk_docs if doc_id in text_of]
        texts = [text for text, _ in kept]
        ours, theirs = student.encode_batch(texts), teacher.encode_batch(texts)
        for (_, rows), own, their in zip(kept, ours, theirs, strict=True):
            own_ids, target = align(np.asarray(rows, np.float32), their, own)
            ids.append(own_ids)
            targets.append(target)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in ids])])
    out.mkdir(exist_ok=True)
    np.save(out / "ids.npy", np.concatenate(ids))
    values = open_memmap(
        out / "targets.npy", mode="w+", dtype=np.float16, shape=(int(offsets[-1]), store.dim)
    )
    for start, target in zip(offsets, targets, strict=False):
        values[start : start + len(target)] = target
    values.flush()
    np.save(out / "offsets.npy", offsets)
    (out / "doc_ids.json").write_text(json.dumps(kept_ids), encoding="utf-8")
    return int(offsets[-1])


def align(
    rows: Rows, theirs: Any, ours: Any
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float16]]:
    """Ids of our tokens and their targets, as far as the teacher's rows go.

    rows: (n, dim) of the teacher's text, [CLS] first and [SEP] last
    theirs, ours: encodings with ids and offsets of characters
    """
    spans = np.array(theirs.offsets, np.int64)[1 : len(rows) - 1]
    own_spans, own_ids = np.array(ours.offsets, np.int64)[1:-1], np.array(ours.ids)
    last = spans[-1, 1] if len(spans) else 0
    n = int(np.searchsorted(own_spans[:, 1], last, side="right"))
    inside = means_over(rows[1:-1], spans, own_spans[:n])
    targets = np.concatenate([rows[:1], inside, rows[-1:]])
    targets /= np.maximum(np.linalg.norm(targets, axis=1, keepdims=True), 1e-6)
    ids = np.concatenate([own_ids[: n + 1], own_ids[-1:]])
    return ids.astype(np.uint16), targets.astype(np.float16)


def means_over(rows: Rows, spans: Spans, wanted: Spans) -> Rows:
    """(n_wanted, dim) mean of the rows whose spans share a character with the wanted span.

    Spans are in order and do not overlap; a wanted span that shares none has a row of zeros.
    """
    first = np.searchsorted(spans[:, 1], wanted[:, 0], side="right")
    stop = np.searchsorted(spans[:, 0], wanted[:, 1], side="left")
    sums = np.concatenate([np.zeros((1, rows.shape[1]), np.float32), np.cumsum(rows, axis=0)])
    stop = np.maximum(stop, first)
    counts = np.maximum(stop - first, 1)[:, None]
    return np.asarray((sums[stop] - sums[first]) / counts, np.float32)


if __name__ == "__main__":
    main()
