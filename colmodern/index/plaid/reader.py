"""An open PLAID index as its readers use it: load, search, filter, explain."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from colmodern.arguments import checked_path, expect_counts, renamed_keywords
from colmodern.index.base import closed_error
from colmodern.index.filters import DocFilter, Filter
from colmodern.index.inputs import Embeddings, query_batch
from colmodern.index.pages import checked_page
from colmodern.index.plaid.cuda.devices import LazyCudaSearch
from colmodern.index.plaid.disk.info import describe
from colmodern.index.plaid.disk.verify import Verify
from colmodern.index.plaid.search.candidates import Candidates, lists_of, with_candidates
from colmodern.index.plaid.search.explain import explain
from colmodern.index.plaid.search.filters import make_filter
from colmodern.index.plaid.search.first_answer import SearchKernels, WhileCompiling
from colmodern.index.plaid.search.located import checked_span_settings, doc_index_of
from colmodern.index.plaid.search.pages import answer_pages
from colmodern.index.plaid.search.queries import checked_query, expect_encoder, expect_encoder_of
from colmodern.index.plaid.search.request import Query, SearchRequest
from colmodern.index.plaid.search.state import State, load_state
from colmodern.index.plaid.search.stored import StoredEmbeddings, stored_of
from colmodern.index.spans import SpanSettings
from colmodern.kernels.device import CPU, Devices, resolve_device
from colmodern.progress import Progress, as_progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.threads import Threads
from colmodern.types import BatchResults, Explanation, Results, ScoredDoc
from colmodern.units import parse_bytes

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger(__name__)


class PlaidReader:
    """An index folder, mapped; safe to search from many threads at once.

    Searches see the documents that were there when it was loaded. See ``load`` for damaged files. A
    pickle holds the path and the settings, and loads the index as it is then.
    """

    def __init__(
        self,
        state: State,
        *,
        n_threads: int | None = None,
        devices: Devices = CPU,
        device_max_memory: int | str | None = None,
    ) -> None:
        """Search a folder's state; callers use ``load``, or ``PlaidIndex.build``.

        Args:
            state: The opened folder.
            n_threads: Threads of a search; default all cores that the process may use.
            devices: The devices that search.
            device_max_memory: Bytes, or text as "20G", that may stay on a GPU.
        """
        expect_counts(n_threads=n_threads)
        self._kernels = SearchKernels(state.snapshot.folder)
        self._threads = Threads(n_threads)
        self._devices = devices
        most = device_max_memory
        device_bytes = None if most is None else parse_bytes(most, name="device_max_memory")
        self._cuda = LazyCudaSearch(devices.gpus, device_bytes) if devices.gpus else None
        self._current: State | None = state
        self._settings: dict[str, Any] = {"n_threads": n_threads}
        self._latest_stored: StoredEmbeddings | None = None

    @classmethod
    @renamed_keywords(device_memory="device_max_memory")
    def load(
        cls,
        path: Path | str,
        *,
        n_threads: int | None = None,
        device: str | Devices = "cpu",
        device_max_memory: int | str | None = None,
        verify: Verify = "lazy",
        while_compiling: WhileCompiling | None = None,
    ) -> Self:
        """Map an index folder; a damaged file is refused by name and never searched.

        Manifest, codec, offsets and ids are compared with their checksums here; all else before
        the first search uses it, once in a process: that search reads the whole index.

        Args:
            path: The index folder.
            n_threads: Threads of one search or one batch; default all.
            device: "cpu", "cuda", "cuda:N", GPUs that share the documents as "cuda:0,cuda:1", or
                "auto". A GPU scans all documents, so that nprobe has no effect there.
            device_max_memory: Bytes, or text as "20G", that may stay on a GPU, embeddings to rescore
                with among them; default most of what is free.
            verify: "full" compares everything here; "addresses", for indexes larger than memory,
                only makes sure that searches stay inside the arrays, and misses damage that
                changes scores.
            while_compiling: What a single search does while kernels are compiled, once for an
                installation: "answer" in NumPy, with the same documents, or "wait"; default as
                COLMODERN_WHILE_COMPILING says, else "answer". Batches and ``exact`` always wait.

        Returns:
            The open index.

        Raises:
            StorageError: It is missing, unfinished, damaged or of another format.
            ConfigError: There is no such device, or ``while_compiling`` is another word.
            MissingExtraError: Triton is missing.
        """
        # absolute, for the process may go elsewhere before it changes the index
        folder = Path(os.path.abspath(checked_path("path", path)))
        expect_counts(n_threads=n_threads)
        state = load_state(folder, verify)
        devices = resolve_device(device)
        index = cls(
            state, n_threads=n_threads, devices=devices, device_max_memory=device_max_memory
        )
        setting = device.setting if isinstance(device, Devices) else device
        index._settings |= {"device": setting, "device_max_memory": device_max_memory}
        index._settings |= {"verify": verify, "while_compiling": while_compiling}
        index._kernels = SearchKernels(folder, while_compiling)
        return index

    def __repr__(self) -> str:
        name = type(self).__name__
        if self._current is None:
            return f"{name}(closed)"
        info = self.info()
        return (
            f"{name}({info['path']!r}, n_docs={self.n_docs}, dim={self.dim}, "
            f"nbits={info['settings']['nbits']}, "
            f"bytes_per_token={info['bytes_per_token']['total']}, "
            f"device={self._devices.setting!r})"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _load, (type(self), self._state.snapshot.folder, self._settings)

    @property
    def n_docs(self) -> int:
        """Number of documents, without the deleted ones."""
        return self._state.view.n_open

    @property
    def has_spans(self) -> bool:
        """Whether it keeps the characters of its tokens."""
        return self._state.snapshot.manifest.has_spans

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return self._state.snapshot.manifest.dim

    def __len__(self) -> int:
        return self.n_docs

    def __contains__(self, doc_id: object) -> bool:
        state = self._state
        return isinstance(doc_id, str) and doc_index_of(doc_id, state.view) is not None

    @property
    def _state(self) -> State:
        if self._current is None:
            raise closed_error()
        return self._current

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        filter: Filter | None = None,
        candidates_from: Candidates | None = None,
        rescore: Embeddings | None = None,
        fingerprint: str | None = None,
        n_threads: int | None = None,
        exact: bool = False,
        spans: bool | SpanSettings = False,
        offset: int = 0,
        group_by: str | None = None,
    ) -> Results[ScoredDoc]:
        """The best ``k`` documents for one (n_query_tokens, dim) query, best first.

        Scores are MaxSim with the decoded tokens, or with ``rescore``'s. Tokens whose centroid or
        integer similarity lies too far below the best one's are skipped: rarely is one of them the
        best (in one to four of a thousand results that were measured). A score is then too low, for
        each such query token by less than the lengths of the two tokens' residuals together (.14 at
        most was measured), and never too high. GPUs decode all tokens.

        Args:
            query: An array, tensor or nested lists of floats.
            k: Number of documents, at most. Ties go to the smaller doc_id.
            nprobe: Centroids probed for each query token; by default it follows from the index and k.
            n_candidates: Documents scored with their compressed tokens; the default likewise.
            filter: Conditions on fields, as ``{"year": {"gte": 2020}}``, ids of allowed documents, a
                function of an id, or a filter made by ``filter``.
            candidates_from: More candidates: ids, or results of another search, such as BM25.
            rescore: Embeddings that the index was built from, for exact scores of the last
                candidates. The first search with them copies them to the GPUs that search, where they
                fit; changes to an array after that are not seen.
            fingerprint: Fingerprint of the query's encoder; refused when the index has another.
            n_threads: Threads of this search; default as loaded.
            exact: Score the last candidates with all of their tokens: scores equal MaxSim up to
                the rounding of float32. The candidates are the same.
            spans: True or SpanSettings for the passages that matched, by the decoded tokens or
                ``rescore``'s; the index must keep the characters of its tokens.
            offset: Results to leave out before the first, for the next page. Pages of one ranking
                come from searches of different depth, so that a document may move between them.
            group_by: A field of which each value shall be among the results once, with its best
                document. A document without a value stands for itself.

        Returns:
            The best documents with their scores, as Hit where passages were asked for, as
            GroupedHit with ``group_by``.

        Raises:
            InputError: A query of another dim or encoder, values that are not finite, or a wrong
                setting; or the index keeps no characters.
        """
        state = self._state
        settings = checked_span_settings(spans, state)
        expect_encoder(fingerprint, state.snapshot.manifest.fingerprint)
        values, page = checked_query(query, self.dim), checked_page(k, offset, group_by)
        threads, stored = self._threads_of(n_threads), self._stored(state, rescore)
        search = SearchRequest(state, page.end, filter, nprobe, n_candidates, stored, exact=exact)
        searched = with_candidates([values], [candidates_from], state, search.view)

        def answer(request: SearchRequest, queries: Sequence[Query]) -> list[Results[ScoredDoc]]:
            if self._cuda:
                return self._search_on_gpus(self._cuda, request, queries)
            return [self._kernels.answer(request, query, threads) for query in queries]

        return answer_pages(state, search, page, searched, answer, settings, Threads(1))[0]

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 10,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        filter: Filter | None = None,
        candidates_from: Sequence[Candidates] | None = None,
        rescore: Embeddings | None = None,
        n_threads: int | None = None,
        exact: bool = False,
        spans: bool | SpanSettings = False,
        offset: int = 0,
        group_by: str | None = None,
        progress: Progress | bool | None = None,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            queries: Embeddings as an encoder returns them.
            k: Number of documents of each query, at most.
            nprobe: As in ``search``, like the arguments that follow.
            n_candidates: As in ``search``.
            filter: As in ``search``, the same for all queries.
            candidates_from: As in ``search``, one list for each query.
            rescore: As in ``search``.
            n_threads: Threads that share the queries; default as loaded.
            exact: As in ``search``.
            spans: As in ``search``.
            offset: As in ``search``.
            group_by: As in ``search``.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            One list a query, best first.

        Raises:
            InputError: As from ``search``.
        """
        tell = as_progress(progress).note if progress else _log.warning
        state, progress = self._state, as_progress(progress)
        settings = checked_span_settings(spans, state)
        expect_encoder_of(queries, state.snapshot.manifest.fingerprint)
        queries = query_batch(queries, self.dim)
        threads, alone = self._threads_of(n_threads), Threads(1)
        page, stored = checked_page(k, offset, group_by), self._stored(state, rescore)
        search = SearchRequest(state, page.end, filter, nprobe, n_candidates, stored, exact=exact)
        added = lists_of(candidates_from, len(queries))
        checked = [checked_query(query, self.dim) for query in queries]
        searched = with_candidates(checked, added, state, search.view)

        def answer(request: SearchRequest, queries: Sequence[Query]) -> list[Results[ScoredDoc]]:
            def search_one(query: Query) -> Results[ScoredDoc]:
                results = request(query, alone)
                progress.advance(1)
                return results

            progress.start("search", len(queries), unit="queries")
            if self._cuda:
                results = self._search_on_gpus(self._cuda, request, queries)
                progress.advance(len(queries))
            else:
                with self._kernels.awaited(request, queries, alone, tell):
                    results = threads.map(search_one, queries)
            progress.finish()
            return results

        return BatchResults(answer_pages(state, search, page, searched, answer, settings, threads))

    @renamed_keywords(chosen="allowed")
    def filter(self, allowed: Filter) -> DocFilter:
        """Make a filter for many searches of this index as it is now.

        Args:
            allowed: Conditions on fields, ids of the documents that may be returned, or a function
                from an id to True or False, which is called once for each document.

        Returns:
            A filter for the argument ``filter`` of searches, until the index changes.
        """
        return make_filter(self._state, allowed)

    def explain(
        self,
        query: npt.ArrayLike,
        doc_id: str,
        k: int = 10,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        text: str | None = None,
    ) -> Explanation:
        """Follow a document through the stages of a search, and align its tokens with the query's.

        Args:
            query: As in ``search``.
            doc_id: The document.
            k: Number of documents that the search looks for.
            nprobe: As in ``search``.
            n_candidates: As in ``search``.
            text: The document's text, for passages of whole words.

        Returns:
            The rank of the document in each stage, the stage that lost it, and its alignment; with
            the passages that matched, where the index keeps the characters of its tokens.

        Raises:
            InputError: The index has no such document, or ``text`` is not its text.
        """
        state = self._state
        search = SearchRequest(state, k, None, nprobe, n_candidates, None)
        values = checked_query(query, self.dim)
        return explain(values, doc_id, search, state, self._threads, text=text)

    def info(self) -> dict[str, Any]:
        """Describe the index.

        Returns:
            Counts, settings, and bytes on disk, in total and per token, of each kind of file.
        """
        state = self._state
        return describe(state.snapshot, state.view.n_open)

    def close(self) -> None:
        """Release mapped files and GPUs once running searches end; later ones raise InputError."""
        self._current = self._cuda = self._latest_stored = None

    def _stored(self, state: State, embeddings: Embeddings | None) -> StoredEmbeddings | None:
        """The documents of ``rescore``, looked up once for many searches with the same embeddings."""
        if embeddings is None:
            return None
        self._latest_stored = stored_of(embeddings, state.view, self._latest_stored)
        return self._latest_stored

    def _search_on_gpus(
        self, cuda: LazyCudaSearch, search: SearchRequest, queries: Sequence[Query]
    ) -> list[Results[ScoredDoc]]:
        """Results of queries from GPUs, which always decode all tokens of what they score."""
        arrays = [query.values for query in queries]
        return search.ranked_batch(cuda.search(arrays, search.view, search.budget, search.stored))

    def _threads_of(self, n_threads: int | None) -> Threads:
        expect_counts(n_threads=n_threads)
        return self._threads if n_threads is None else Threads(n_threads)


def _load(kind: type[PlaidReader], path: Path, settings: dict[str, Any]) -> PlaidReader:
    return kind.load(path, **settings)
