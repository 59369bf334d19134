"""A compressed index of token embeddings, searched by MaxSim."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from colmodern.arguments import checked_path, expect_counts, expect_flags
from colmodern.codecs.residuals import ResidualKind
from colmodern.config.units import parse_bytes
from colmodern.errors import InputError
from colmodern.index.finite import naming_documents
from colmodern.index.inputs import query_batch
from colmodern.index.plaid import update
from colmodern.index.plaid.build import build_index
from colmodern.index.plaid.build_settings import settle
from colmodern.index.plaid.check import check_index
from colmodern.index.plaid.devices import LazyCudaSearch, cuda_devices, lazy_cuda_search
from colmodern.index.plaid.explain import Explanation, explain
from colmodern.index.plaid.filters import DocFilter, Filter, make_filter
from colmodern.index.plaid.info import describe
from colmodern.index.plaid.queries import checked_query, expect_encoder
from colmodern.index.plaid.request import Query, SearchRequest
from colmodern.index.plaid.source import Embeddings, fingerprint_of, open_source
from colmodern.index.plaid.state import State, load_state, make_state
from colmodern.index.plaid.storage import IndexSnapshot
from colmodern.index.plaid.stored import StoredEmbeddings, stored_of
from colmodern.index.plaid.update import ChangeOptions, change_options
from colmodern.index.plaid.verify import Verify
from colmodern.kernels.jit import tell_if_compiling
from colmodern.progress import Progress, as_progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.threads import Threads
from colmodern.types import ScoredDoc

_OF_A_SEARCH = "prepare_query"  # a kernel that every search needs


class PlaidIndex:
    """An index folder, mapped; safe to search from many threads at once. See ``load`` for damage.

    Searching sees the documents that were there when it was loaded, and what this object itself
    changed since. A pickle of it holds its path and settings, and loads the index as it is then.
    """

    def __init__(
        self, state: State, *, n_threads: int | None = None, cuda: LazyCudaSearch | None = None
    ) -> None:
        """Use ``build`` or ``load``; n_threads: of one search or one batch, default all."""
        expect_counts(n_threads=n_threads)
        self._threads = Threads(n_threads)
        self._cuda = cuda
        self._state = state
        self._settings: dict[str, Any] = {"n_threads": n_threads}
        self._latest_stored: StoredEmbeddings | None = None

    @classmethod
    def build(
        cls,
        embeddings: Embeddings | Path | str,
        path: Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        nbits: int = 4,
        n_centroids: int | None = None,
        seed: int = 0,
        max_ram: int | str = "4G",
        codec: ResidualKind | None = None,
        overwrite: bool = False,
        durable: bool = True,
        device: str = "cpu",
        progress: Progress | bool | None = None,
    ) -> PlaidIndex:
        """Compress embeddings into an index folder and open it.

        An interrupted build of the same input goes on where it stopped.

        Args:
            embeddings: In memory, or a store, or the path of one: read in pieces, of any size.
            path: Of the new index folder.
            doc_ids: (n_docs,) unique strings; default the store's ids, or "0", "1", ...
            nbits: 1, 2, 4 or 8 bits for each dimension of a token, beside 3 to 5 bytes.
            n_centroids: Default 16 times the root of the number of tokens.
            seed: Of the sample and the centroids: the same seed gives the same bytes.
            max_ram: Bytes, or text as "2G", that the build may use.
            codec: "pq" (product quantisation) or "residual" (each dimension alone); default the
                latter at 4 bits, where it is as good and scored twice as fast.
            overwrite: Replace an index at ``path``; it can be read until the new one is whole.
            durable: As in ``add``.
            device: As in ``load``; centroids are assigned there, with the same bytes everywhere.
            progress: True for a bar on stderr, or an object that receives the steps.

        Raises:
            InputError: An argument is wrong.
            ResourceError: ``max_ram`` is too little.
            StorageError: ``path`` exists without ``overwrite``, is being written, or no disk is left.
        """
        path = checked_path("path", path)
        expect_flags(overwrite=overwrite, durable=durable)
        source, ids = open_source(embeddings, doc_ids)
        settings = settle(
            source.n_tokens, source.dim, nbits=nbits, codec=codec, n_centroids=n_centroids,
            seed=seed, max_ram=parse_bytes(max_ram, name="max_ram"),
        )  # fmt: skip
        progress = as_progress(progress)
        tell_if_compiling(progress.note)
        with naming_documents(ids):
            build_index(
                path, source, ids, settings, fingerprint_of(source), progress,
                overwrite=overwrite, is_durable=durable, devices=cuda_devices(device),
            )  # fmt: skip
        return cls.load(path, device=device)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        n_threads: int | None = None,
        device: str = "cpu",
        device_memory: int | str | None = None,
        verify: Verify = "lazy",
    ) -> PlaidIndex:
        """Map an index folder; a damaged file is refused by name and never searched.

        Manifest, codec, offsets and ids are compared with their checksums here; all else before
        the first search uses it, once in a process: that search reads the whole index.

        Args:
            path: The index folder.
            n_threads: Of one search or one batch; default all.
            device: "cpu", "cuda", "cuda:N", GPUs that share the documents as "cuda:0,cuda:1", or
                "auto". A GPU scans all documents, so that nprobe has no effect there.
            device_memory: Bytes, or text as "20G", that may stay on a GPU; default most of what is
                free.
            verify: "full" compares everything here; "addresses", for indexes larger than memory,
                only makes sure that searches stay inside the arrays, and does not notice scores
                that damage changed.

        Raises:
            StorageError: It is missing, unfinished, damaged or of another format.
            ConfigError: There is no such device.
            MissingExtraError: Triton is missing.
        """
        # absolute, for the process may go elsewhere before it changes the index
        folder = Path(os.path.abspath(checked_path("path", path)))
        expect_counts(n_threads=n_threads)
        state = load_state(folder, verify)
        index = cls(state, n_threads=n_threads, cuda=lazy_cuda_search(device, device_memory))
        index._settings |= {"device": device, "device_memory": device_memory, "verify": verify}
        return index

    def __repr__(self) -> str:
        return f"PlaidIndex({str(self._state.snapshot.folder)!r}, n_docs={self.n_docs}, dim={self.dim})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (type(self), self._state.snapshot.folder, self._settings)

    @staticmethod
    def check(path: Path | str, *, progress: Progress | bool | None = None) -> None:
        """Read a whole index; raises StorageError that names the first file that is not right."""
        check_index(checked_path("path", path), progress)
        load_state(Path(path))

    @property
    def n_docs(self) -> int:
        """Documents that can be found."""
        return self._state.view.n_open

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return self._state.snapshot.manifest.dim

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        filter: Filter | None = None,
        rescore: Embeddings | None = None,
        fingerprint: str | None = None,
        n_threads: int | None = None,
        exact: bool = False,
    ) -> list[ScoredDoc]:
        """The best ``k`` documents for one (n_query_tokens, dim) query, best first.

        Scores are MaxSim with the decoded tokens, or with ``rescore``'s. Tokens whose centroid or
        integer similarity lies too far below the best one's are passed over: now and then one of
        them is the best (in one to four of a thousand results that were measured). A score is then
        too low, for each such query token by less than the lengths of the two tokens' residuals
        together (.14 at most was measured), and never too high. GPUs decode all tokens.

        Args:
            query: An array, tensor or nested lists of floats.
            k: How many documents, at most. Ties go to the smaller doc_id.
            nprobe: Centroids probed for each query token; default chosen from the index and k.
            n_candidates: Documents scored with their compressed tokens; default chosen likewise.
            filter: Ids of allowed documents, a function of an id, or what ``filter`` returns.
            rescore: Embeddings that the index was built from: the last candidates' exact scores.
            fingerprint: Of the query's encoder, refused when the index has another.
            n_threads: Of this search; default as loaded.
            exact: Score the last candidates with all of their tokens: scores equal MaxSim up to
                the rounding of float32. Which documents are candidates does not change.

        Raises:
            InputError: A query of another dim or encoder, values that are not finite, or a wrong
                setting.
        """
        state = self._state
        expect_encoder(fingerprint, state.snapshot.manifest.fingerprint)
        values = checked_query(query, self.dim)
        _tell_once()
        threads = self._threads_of(n_threads)
        search = SearchRequest(
            state, k, filter, nprobe, n_candidates, self._stored(state, rescore), exact=exact
        )
        return search.on(self._cuda, [values])[0] if self._cuda else search(values, threads)

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 100,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        filter: Filter | None = None,
        rescore: Embeddings | None = None,
        n_threads: int | None = None,
        exact: bool = False,
        progress: Progress | bool | None = None,
    ) -> list[list[ScoredDoc]]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            queries: As an encoder returns them; other arguments are those of ``search``.
            progress: As in ``build``.
        """
        state, progress = self._state, as_progress(progress)
        if isinstance(queries, EmbeddingStore) and queries.manifest.get("role") != "query":
            expect_encoder(fingerprint_of(queries), state.snapshot.manifest.fingerprint)
        queries = query_batch(queries, self.dim)
        threads, alone = self._threads_of(n_threads), Threads(1)
        search = SearchRequest(
            state, k, filter, nprobe, n_candidates, self._stored(state, rescore), exact=exact
        )
        tell_if_compiling(progress.note, kernel=_OF_A_SEARCH)
        progress.start("search", len(queries), unit="queries")

        def search_one(query: Query) -> list[ScoredDoc]:
            ranking = search(checked_query(query, self.dim), alone)
            progress.advance(1)
            return ranking

        if self._cuda:
            results = search.on(self._cuda, [checked_query(query, self.dim) for query in queries])
            progress.advance(len(queries))
        else:
            results = threads.map(search_one, queries)
        progress.finish()
        return results

    def filter(self, allowed: Iterable[str] | Callable[[str], bool]) -> DocFilter:
        """A filter worked out once, for many searches of this index as it is now."""
        state = self._state
        return make_filter(state.view, state.snapshot.manifest.segments, allowed)

    def explain(
        self,
        query: Query,
        doc_id: str,
        k: int = 10,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
    ) -> Explanation:
        """Which stage of a search for ``k`` documents keeps or loses one, and its token alignment.

        Raises InputError when the index has no such document.
        """
        search = SearchRequest(self._state, k, None, nprobe, n_candidates, None)
        values = checked_query(query, self.dim)
        return explain(values, doc_id, search.k, search.view, search.budget, self._threads)

    def info(self) -> dict[str, Any]:
        """Counts, settings, and bytes on disk of each part and per token."""
        state = self._state
        return describe(state.snapshot, state.view.n_open)

    def add(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        merge: bool = True,
        durable: bool = True,
        progress: Progress | bool | None = None,
    ) -> None:
        """Add documents as a new segment, compressed by the index's codec.

        Args:
            embeddings: As in ``build``.
            doc_ids: (n_docs,) unique strings; only a store's may be left out.
            merge: Merge small segments with the new one when there are many, to stay fast.
            durable: Wait until a power cut can no longer undo it. Without, it takes less time;
                after a power cut the index may be damaged, unless a later change was durable.
            progress: As in ``build``.

        Raises:
            InputError: An id is there already or repeats, or dim or encoder differ.
        """
        self._add(embeddings, doc_ids, progress, False, change_options(durable, merge=merge))

    def delete(self, doc_ids: Iterable[str], *, durable: bool = True) -> int:
        """Delete documents; returns how many. Raises InputError, deleting none, for unknown ids.

        durable: as in ``add``
        """
        options = change_options(durable)
        return update.delete(self._state.snapshot, doc_ids, self._adopt, options=options)

    def update(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        merge: bool = True,
        durable: bool = True,
        progress: Progress | bool | None = None,
    ) -> None:
        """Add documents, in place of those with the same ids, all at once; options as ``add``'s."""
        self._add(embeddings, doc_ids, progress, True, change_options(durable, merge=merge))

    def compact(self, *, durable: bool = True, progress: Progress | bool | None = None) -> None:
        """Merge all segments into one without the deleted documents; results stay the same.

        durable: as in ``add``
        """
        state, options = self._state, change_options(durable)
        update.compact(
            state.snapshot,
            state.codec,
            self._adopt,
            options=options,
            progress=as_progress(progress),
        )

    def _add(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None,
        progress: Progress | bool | None,
        replaces: bool,
        options: ChangeOptions,
    ) -> None:
        source, ids = open_source(embeddings, doc_ids)
        if doc_ids is None and isinstance(source, TokenEmbeddings):
            raise InputError("doc_ids is missing; pass one new id a document")
        state = self._state
        if source.n_docs and source.dim != self.dim:
            raise InputError(f"embeddings have dim={source.dim}, the index has dim={self.dim}")
        expect_encoder(fingerprint_of(source), state.snapshot.manifest.fingerprint)
        with naming_documents(ids):
            update.add(
                state.snapshot, state.codec, source, ids, self._threads, self._adopt,
                replaces=replaces, options=options, progress=as_progress(progress),
            )  # fmt: skip

    def _adopt(self, snapshot: IndexSnapshot) -> None:
        state = self._state
        self._state = make_state(snapshot, state.view.codec, state.verification.verify)

    def _stored(self, state: State, embeddings: Embeddings | None) -> StoredEmbeddings | None:
        """Where ``rescore`` has its documents, found once for many searches with the same."""
        if embeddings is None:
            return None
        self._latest_stored = stored_of(embeddings, state.view, self._latest_stored)
        return self._latest_stored

    def _threads_of(self, n_threads: int | None) -> Threads:
        expect_counts(n_threads=n_threads)
        return self._threads if n_threads is None else Threads(n_threads)


def _load(kind: type[PlaidIndex], path: Path, settings: dict[str, Any]) -> PlaidIndex:
    return kind.load(path, **settings)


@cache
def _tell_once() -> None:
    """That the first search after installation compiles; what a build compiled is not enough."""
    tell_if_compiling(kernel=_OF_A_SEARCH)
