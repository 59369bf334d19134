"""Index token embeddings that another model computed, as those of page images.

    python examples/embeddings_from_elsewhere.py
    python examples/embeddings_from_elsewhere.py pages.npz queries.npz --index pages-index

A model such as ColPali gives one vector for each patch of a page and for each token of a query. Each
.npz file has one (n_tokens, dim) array for each page or query, under its id. Without files, the
script makes up pages of random vectors, and queries that point at one page each.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern import ExactIndex, PlaidIndex, TokenEmbeddings

N_PAGES, N_PATCHES, DIM = 40, 1030, 128  # the shape of ColPali's pages

Arrays = dict[str, npt.NDArray[np.floating]]


def unit(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Rows of length 1: MaxSim adds up dot products, and is meant for cosines."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def made_up() -> tuple[Arrays, Arrays]:
    """Pages around a direction of their own, and queries of patches of one page, with noise."""
    rng = np.random.default_rng(0)
    pages, queries = {}, {}
    for number in range(N_PAGES):
        patches = unit(rng.normal(size=(N_PATCHES, DIM)) + rng.normal(size=DIM))
        pages[f"page-{number:02d}"] = patches
        if number % 10 == 0:
            noise = rng.normal(size=(16, DIM)) / DIM**0.5
            queries[f"about page-{number:02d}"] = unit(patches[:16] + noise)
    return pages, queries


def read(path: Path) -> Arrays:
    with np.load(path) as arrays:
        return {name: unit(arrays[name]) for name in arrays.files}


def main() -> None:
    parser = argparse.ArgumentParser(description="Index embeddings from elsewhere.")
    parser.add_argument("files", nargs="*", type=Path, metavar="PAGES QUERIES")
    parser.add_argument("--index", type=Path, help="where the index is kept; default: nowhere")
    options = parser.parse_args()
    if len(options.files) not in (0, 2):
        parser.error("give two files: pages and queries")

    pages, queries = map(read, options.files) if options.files else made_up()
    documents = TokenEmbeddings.from_list(pages.values())
    asked = TokenEmbeddings.from_list(queries.values())
    exact = ExactIndex(documents, list(pages)).search_batch(asked, k=3)
    with tempfile.TemporaryDirectory() as scratch:
        path = options.index or Path(scratch) / "index"
        index = PlaidIndex.build(documents, path, list(pages), nbits=2, progress=True)
        results = index.search_batch(asked, k=3)
        stored, per_token = documents.values.nbytes, index.info()["bytes_per_token"]["total"]
        print(f"{index.n_docs} pages, {documents.n_tokens:,} vectors of {index.dim} numbers")
        print(f"bytes a vector: {stored / documents.n_tokens:.0f} as float32, {per_token} indexed")
        for name, best, true in zip(queries, results, exact, strict=True):
            hits = ", ".join(f"{page} {score:.2f}" for page, score in best)
            print(f"{name}: {hits}  (exact search: {true[0].doc_id} {true[0].score:.2f})")


if __name__ == "__main__":
    main()
