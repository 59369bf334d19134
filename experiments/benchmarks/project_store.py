"""Cut the token embeddings of several stores to fewer dimensions, by one PCA for all.

    python experiments/benchmarks/project_store.py OUT --documents STORE ... --queries STORE ... \
        [--dim 128]

Writes OUT/documents (all document stores joined), OUT/queries-NAME (one a query store) and
OUT/pca.npy, (dim before, dim after) float32, which a later call reuses. The PCA is uncentred (the
eigenvectors of X^T X), so a dot product loses only what lies in the directions dropped. Rows are
made unit length again. Interrupted, the same command goes on after the last finished shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import numpy as np

from colmodern.errors import ColmodernError
from colmodern.files import sha256_of_json
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore, ShardWriter

_TOKENS_AT_ONCE = 200_000


def fit_pca(stores: list[EmbeddingStore], dim: int, sample: int) -> np.ndarray:
    """(store dim, dim) float32, orthonormal columns, from about ``sample`` evenly spread tokens."""
    step = max(1, sum(store.n_tokens for store in stores) // sample)
    moments = np.zeros((stores[0].dim, stores[0].dim))
    for store in stores:
        for _, texts in store.chunks(_TOKENS_AT_ONCE):
            rows = np.asarray(texts.values[::step], dtype=np.float32)
            moments += rows.T @ rows
    variances, vectors = np.linalg.eigh(moments)
    kept = variances[-dim:].sum() / variances.sum()
    click.echo(f"PCA: {stores[0].dim} to {dim} dimensions keep {kept:.1%} of the squared length")
    return np.ascontiguousarray(vectors[:, ::-1][:, :dim], dtype=np.float32)


def project(texts: TokenEmbeddings, pca: np.ndarray) -> TokenEmbeddings:
    """The same texts with (n_tokens, dim after) float32 unit rows; a zero row stays zero."""
    values = np.asarray(texts.values, dtype=np.float32) @ pca
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return TokenEmbeddings(values, texts.offsets, texts.token_ids)


def write_store(
    folder: Path, stores: list[EmbeddingStore], pca: np.ndarray, *, prefix: bool
) -> EmbeddingStore:
    """Project stores into one; ``prefix`` puts "NAME:" before the ids of each."""
    sources = [store.manifest["fingerprint"] for store in stores]
    fingerprint = sha256_of_json({"sources": sources, "pca": pca.tolist(), "prefix": prefix})
    writer = ShardWriter(folder, fingerprint=fingerprint)
    for texts, doc_ids in islice(_parts(stores, prefix), len(writer.shards), None):
        writer.add(project(texts, pca), doc_ids)
    store = writer.finish()
    click.echo(f"{folder}: {store.n_docs} texts, {store.n_tokens} tokens")
    return store


def store_name(store: EmbeddingStore) -> str:
    """Its folder, without the "d-" or "q-" that says what it holds."""
    name = store.folder.resolve().name
    return name.removeprefix("d-").removeprefix("q-")


def _parts(
    stores: list[EmbeddingStore], prefix: bool
) -> Iterator[tuple[TokenEmbeddings, list[str]]]:
    for store in stores:
        before = f"{store_name(store)}:" if prefix else ""
        for first, texts in store.chunks(_TOKENS_AT_ONCE):
            yield texts, [before + name for name in store.doc_ids[first : first + texts.n_docs]]


def _ids_repeat(stores: list[EmbeddingStore]) -> bool:
    ids = [doc_id for store in stores for doc_id in store.doc_ids]
    return len(set(ids)) < len(ids)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--documents", "-d", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("--queries", "-q", multiple=True, type=click.Path(path_type=Path))
@click.option("--dim", default=128, show_default=True)
@click.option(
    "--sample", default=1_000_000, show_default=True, help="Tokens that the PCA is fitted on."
)
@click.option(
    "--prefix/--no-prefix", default=None, help='Ids as "STORE:ID"; default when ids repeat.'
)
def main(
    out: Path,
    documents: tuple[Path, ...],
    queries: tuple[Path, ...],
    dim: int,
    sample: int,
    prefix: bool | None,
) -> None:
    """Cut embedding stores to DIM dimensions by one PCA."""
    try:
        stores = [EmbeddingStore(folder) for folder in documents]
        out.mkdir(parents=True, exist_ok=True)
        if not (out / "pca.npy").is_file():
            np.save(out / "pca.npy", fit_pca(stores, dim, sample))
        pca = np.load(out / "pca.npy")
        if pca.shape != (stores[0].dim, dim):
            raise click.ClickException(
                f"{out / 'pca.npy'} has shape {pca.shape}; choose another OUT"
            )
        with_names = _ids_repeat(stores) if prefix is None else prefix
        write_store(out / "documents", stores, pca, prefix=with_names)
        for store in map(EmbeddingStore, queries):
            write_store(out / f"queries-{store_name(store)}", [store], pca, prefix=False)
    except ColmodernError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
