"""A model as ``mteb`` evaluates one: encoded and indexed once for each corpus, then only searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from colmodern.config.index import PlaidIndexConfig
from colmodern.config.models import StorageConfig
from colmodern.config.renamed import with_old_names
from colmodern.encoder.encoder import Encoder
from colmodern.encoding.store import corpus_key, encode_corpus
from colmodern.errors import InputError
from colmodern.evaluation.measures import untied
from colmodern.files import sha256_of_json, sha256_of_texts
from colmodern.optional import require
from colmodern.pipeline.searchers.plaid import PlaidSearcher
from colmodern.pipeline.searchers.plaid_index import build_once
from colmodern.progress import Progress, as_progress
from colmodern.types import BatchResults, Document, Results, ScoredDoc

if TYPE_CHECKING:
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.ragged.store import EmbeddingStore


class Table(Protocol):
    """The parts of ``datasets.Dataset`` that are used here."""

    @property
    def column_names(self) -> list[str]:
        """Names of the table's columns."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Mapping[str, Any]]: ...


class MtebModel:
    """Implements mteb's ``SearchProtocol`` with an encoder and a compressed index.

    Hand it to ``mteb.evaluate``. Needs the extra ``mteb``.
    """

    def __init__(
        self,
        encoder: Encoder,
        folder: Path | str,
        *,
        index: PlaidIndexConfig | None = None,
        storage: StorageConfig | None = None,
        join_titles: bool = True,
        progress: Progress | bool | None = None,
    ) -> None:
        """Prepare a model; nothing is encoded yet.

        Args:
            encoder: The encoder of documents and queries.
            folder: Folder for embeddings and indexes, which later evaluations reuse, also in other
                processes.
            index: Settings of the index and its search; compare_with_exact is not used.
            storage: Settings of the stored embeddings.
            join_titles: Whether a document is encoded as "title text", as in mteb's own wrappers.
            progress: True for a bar on stderr.
        """
        self._encoder = encoder
        self._folder = Path(folder)
        self._index = index or PlaidIndexConfig()
        self._storage = storage or StorageConfig()
        self._join_titles = join_titles
        self._progress = as_progress(progress)
        self._searched: tuple[PlaidIndex, EmbeddingStore] | None = None

    @cached_property
    def mteb_model_meta(self) -> Any:
        """The ModelMeta under which mteb files results; any setting or weight changes its revision.

        Raises:
            MissingExtraError: Mteb is not installed.
        """
        facts = self._encoder.describe()
        # the device of the search moves no score
        index = self._index.model_dump(mode="json", exclude={"device", "device_max_memory"})
        settings = {
            "index": with_old_names(index, "index"),
            "storage": self._storage.model_dump(mode="json"),
            "join_titles": self._join_titles,
        }
        roles = [self._encoder.fingerprint("query"), self._encoder.fingerprint("document")]
        name = Path(str(facts["model"])).name
        return require("mteb.models", extra="mteb").ModelMeta.create_empty(
            {
                "name": f"colmodern/{name}",
                "revision": sha256_of_json([*roles, settings])[:16],
                "embed_dim": facts["dim"],
                "max_tokens": self._encoder.settings.document_length,
                "model_type": ["late-interaction"],
            }
        )

    def index(self, corpus: Table, **task_facts: Any) -> None:
        """Encode and index a corpus, unless ``folder`` has its index; later searches use it.

        Args:
            corpus: Columns id and text, and optionally title.
            **task_facts: Further arguments of mteb, which are not used.

        Raises:
            InputError: The corpus has no column of ids or texts.
        """
        documents = _Corpus(corpus)
        titles, dtype = self._join_titles, self._storage.dtype
        key = corpus_key(documents, self._encoder, join_titles=titles, dtype=dtype)
        store, _ = encode_corpus(
            documents,
            self._encoder,
            self._folder / f"documents-{key[:16]}",
            join_titles=titles,
            dtype=dtype,
            shard_tokens=self._storage.shard_tokens,
            progress=self._progress,
        )
        searcher = PlaidSearcher(self._index, self._encoder.device)
        folder = self._folder / f"index-{searcher.preparation_key(store)[:16]}"
        build_once(folder, store, searcher.config, self._progress)
        self._searched = searcher.load(folder), store

    def search(
        self,
        queries: Table,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **task_facts: Any,
    ) -> dict[str, dict[str, float]]:
        """Search the indexed corpus.

        Args:
            queries: Columns id and text.
            top_k: Number of documents for each query, at most.
            top_ranked: query_id -> the only documents to score, for tasks that rerank.
            **task_facts: Further arguments of mteb, which are not used.

        Returns:
            query_id -> doc_id -> score, of the best documents.

        Raises:
            InputError: ``index`` was not called, or queries are conversations or have instructions.
        """
        if self._searched is None:
            raise InputError("nothing is indexed; call index(corpus) first")
        index, store = self._searched
        texts = _query_texts(queries)
        embeddings = self._encoder.encode_queries(list(texts.values()))
        options: dict[str, Any] = {
            "nprobe": self._index.nprobe,
            "n_candidates": self._index.n_candidates,
            "rescore": store if self._index.rescore else None,
        }
        k = min(top_k, max(1, index.n_docs))
        if top_ranked is None:
            results = index.search_batch(embeddings, k, **options, progress=self._progress)
        else:
            results = BatchResults(
                index.search(embeddings[row], k, filter=top_ranked[query_id], **options)
                if top_ranked.get(query_id)
                else Results()
                for row, query_id in enumerate(texts)
            )
        return {query_id: _scores(best) for query_id, best in zip(texts, results, strict=True)}


class _Corpus:
    """A corpus of mteb as one of ours."""

    def __init__(self, table: Table) -> None:
        _expect_texts(table, "corpus")
        self._table = table

    @cached_property
    def fingerprint(self) -> str:
        return sha256_of_texts(field for document in self for field in document)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Document]:
        for row in self._table:
            yield Document(str(row["id"]), row["text"] or "", row.get("title") or "")


def _query_texts(queries: Table) -> dict[str, str]:
    _expect_texts(queries, "queries")
    texts = {str(row["id"]): row["text"] for row in queries}
    others = [query_id for query_id, text in texts.items() if not isinstance(text, str)]
    instructed = "instruction" in queries.column_names and any(q["instruction"] for q in queries)
    if others or instructed:
        what = f"query {others[0]!r} is not text" if others else "they have instructions"
        raise InputError(
            f"queries: {what}; this model takes plain queries only: choose other tasks"
        )
    return texts


def _expect_texts(table: Table, name: str) -> None:
    if missing := {"id", "text"} - set(table.column_names):
        raise InputError(
            f"{name} has no column {' and '.join(sorted(missing))}; choose a retrieval task of texts"
        )


def _scores(best: Sequence[ScoredDoc]) -> dict[str, float]:
    return dict(untied(best))  # mteb sorts by score alone: ties must keep their order
