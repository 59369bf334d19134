"""Open shards as their readers use them: search, explain, describe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from colmodern.arguments import checked_seconds, expect_flags
from colmodern.checks import shown
from colmodern.errors import InputError, UnavailableError
from colmodern.files import sha256_of_json
from colmodern.index.base import Index, closed_error
from colmodern.index.filters import Filter
from colmodern.index.inputs import query_batch, query_values
from colmodern.index.pages import checked_page
from colmodern.index.plaid.search.queries import expect_encoder_of
from colmodern.index.sharded.check import expect_unique
from colmodern.index.sharded.describe import describe_shards, expect_alike
from colmodern.index.sharded.fan_out import Answer, FanOut, facts_timeout
from colmodern.index.sharded.filters import split_filter
from colmodern.index.sharded.known import known_ids
from colmodern.index.sharded.merge import merged
from colmodern.index.sharded.options import named_shards
from colmodern.index.sharded.placement import ids_by_shard, shard_of
from colmodern.index.sharded.request import ShardRequest
from colmodern.partial import ShardedBatchResults, ShardedResults
from colmodern.progress import Progress, as_progress
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, Explanation, Results, ScoredDoc

if TYPE_CHECKING:
    from typing_extensions import Self


class ShardedReader:
    """Several indexes that are searched as one; see ShardedIndex."""

    def __init__(
        self,
        shards: Mapping[str, Index] | Sequence[Index],
        *,
        is_hashed: bool = False,
        timeout_s: float | None = None,
        allow_partial: bool = False,
    ) -> None:
        """Join open indexes; ``load`` opens a folder that `colmodern index shard` wrote.

        Args:
            shards: Indexes by their names, or indexes, which are then "shard-0", "shard-1", ...
            is_hashed: Whether a document lies in the shard that its id hashes to, in the order of
                ``shards``. Documents can be added only then, and filters by ids ask fewer shards.
            timeout_s: Seconds that a search may take; None: any time. What else is asked of the shards
                may take 30 s, or this time where it is longer.
            allow_partial: What searches do by default when a shard does not answer.

        Raises:
            InputError: There are no shards, they have different dims or encoders, or an argument is
                wrong.
            StorageError: Two shards have the same document.
            UnavailableError: No shard answers.
        """
        self._open(shards, is_hashed, timeout_s, allow_partial, None)
        expect_unique(self.shards, is_hashed=self.is_hashed)

    def _open(
        self,
        shards: Mapping[str, Index] | Sequence[Index],
        is_hashed: bool,
        timeout_s: float | None,
        allow_partial: bool,
        path: Path | None,
    ) -> Self:
        """Join shards without reading their ids, which takes a second a million."""
        expect_flags(is_hashed=is_hashed, allow_partial=allow_partial)
        self._shards: dict[str, Index] | None = named_shards(shards)
        self.is_hashed = bool(is_hashed)
        self._timeout_s = _checked_timeout(timeout_s)
        self._allow_partial = bool(allow_partial)
        self._path = path
        self._fan_out = FanOut(self._shards)
        self._dim, self._fingerprint = self._expect_alike()
        return self

    @property
    def shards(self) -> Mapping[str, Index]:
        """The shards by their names."""
        if self._shards is None:
            raise closed_error()
        return self._shards

    @property
    def path(self) -> Path | None:
        """The folder that was loaded, absolute; None for shards that were joined."""
        return self._path

    @property
    def n_docs(self) -> int:
        """Number of documents that a search can return."""
        return sum(self._of_all(lambda shard: shard.n_docs).values())

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        if self._shards is None:
            raise closed_error()
        return self._dim

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the encoder of its documents, None when unknown."""
        return self._fingerprint

    @property
    def has_spans(self) -> bool:
        """Whether all shards keep the characters of their tokens."""
        return all(self._of_all(lambda shard: getattr(shard, "has_spans", False)).values())

    @property
    def version(self) -> str:
        """Digest of the shards' versions: another one after every change of a shard."""
        versions = self._of_all(lambda shard: getattr(shard, "version", None))
        return sha256_of_json(versions)

    @property
    def doc_ids(self) -> list[str]:
        """(n_docs,) ids of the documents, shard by shard; only of shards on this machine."""
        ids: list[str] = []
        for name, shard in self.shards.items():
            if not hasattr(shard, "doc_ids"):
                raise InputError(
                    f"shard {name}, a {type(shard).__name__}, does not list its ids; ask for single ids"
                )
            ids += shard.doc_ids
        return ids

    def __len__(self) -> int:
        return self.n_docs

    def __contains__(self, doc_id: object) -> bool:
        if not isinstance(doc_id, str):
            return doc_id in next(iter(self.shards.values()))
        return any(doc_id in shard for shard in self._owners(doc_id).values())

    def known_ids(self, doc_ids: Iterable[str]) -> list[str]:
        """The ids of documents that the index has, of those that are passed.

        Args:
            doc_ids: Ids of documents; each shard is asked once.

        Returns:
            The known ones, in their order.

        Raises:
            InputError: An id is no text.
            UnavailableError: A shard does not answer; names it.
        """
        ids = id_list("doc_ids", doc_ids, is_ordered=False)
        answers, errors = self._known_of_each(ids, facts_timeout(self._timeout_s))
        for name, error in errors.items():
            raise UnavailableError(f"shard {name}: {self._reason(name, error)}") from error
        known = set().union(*answers.values())
        return [doc_id for doc_id in ids if doc_id in known]

    def __repr__(self) -> str:
        if self._shards is None:
            return f"{type(self).__name__}(closed)"
        where = "" if self._path is None else f"{str(self._path)!r}, "
        return f"{type(self).__name__}({where}n_shards={len(self._shards)}, dim={self._dim})"

    def __reduce__(self) -> tuple[object, ...]:
        settings = (self.is_hashed, self._timeout_s, self._allow_partial, self._path)
        return _restored, (type(self), dict(self.shards), settings)

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter | None = None,
        offset: int = 0,
        group_by: str | None = None,
        timeout_s: float | None = None,
        allow_partial: bool | None = None,
        **options: Any,
    ) -> ShardedResults[ScoredDoc]:
        """The best ``k`` documents of all shards for one query, best first.

        Args:
            query: (n_query_tokens, dim) array, tensor or nested lists of floats.
            k: Number of documents, at most. Ties go to the smaller doc_id.
            filter: Ids of allowed documents, which are split by shard, conditions on fields, or a
                function of an id.
            offset: Results to leave out before the first, for the next page.
            group_by: As in ``PlaidIndex.search``.
            timeout_s: Seconds that the search may take; default as opened.
            allow_partial: Whether to return what the shards that answered have; default as opened.
            **options: Options of the shards' searches: ``nprobe``, ``n_candidates``, ``exact``,
                ``spans`` and ``rescore`` (an EmbeddingStore that has all documents) of PlaidIndex.

        Returns:
            The best documents with their scores, and which shards answered.

        Raises:
            InputError: As the shards raise it; or a shard does not take an option.
            UnavailableError: A shard did not answer, without ``allow_partial``; or none did.
            StorageError: Two shards have the same document.
        """
        request = self._request("search", filter, timeout_s, allow_partial, options)
        page, values = checked_page(k, offset, group_by), query_values(query, self.dim)
        answers, report = request(values, page, nothing=Results[ScoredDoc]())
        return ShardedResults(merged(answers, page), report)

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 10,
        *,
        filter: Filter | None = None,
        offset: int = 0,
        group_by: str | None = None,
        timeout_s: float | None = None,
        allow_partial: bool | None = None,
        progress: Progress | bool | None = None,
        **options: Any,
    ) -> ShardedBatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            queries: Embeddings as an encoder returns them.
            k: Number of documents of each query, at most.
            filter: As in ``search``, the same for all queries.
            offset: As in ``search``.
            group_by: As in ``search``.
            timeout_s: Seconds that all queries may take together; default as opened.
            allow_partial: As in ``search``.
            progress: True for a bar on stderr, or an object that receives the steps.
            **options: As in ``search``.

        Returns:
            One list a query, best first, and which shards answered.

        Raises:
            InputError: As from ``search``.
            UnavailableError: Likewise.
            StorageError: Likewise.
        """
        progress = as_progress(progress)
        request = self._request("search_batch", filter, timeout_s, allow_partial, options)
        expect_encoder_of(queries, self._fingerprint)
        page, queries = checked_page(k, offset, group_by), query_batch(queries, self.dim)
        progress.start("search", len(queries), unit="queries")
        answers, report = request(
            queries, page, nothing=BatchResults([Results[ScoredDoc]()] * len(queries))
        )
        results = [
            ShardedResults(merged({name: each[i] for name, each in answers.items()}, page), report)
            for i in range(len(queries))
        ]
        progress.advance(len(queries))
        progress.finish()
        return ShardedBatchResults(results, report)

    def explain(
        self, query: npt.ArrayLike, doc_id: str, k: int = 10, **options: Any
    ) -> Explanation:
        """Follow a document through the stages of the search of its shard.

        Args:
            query: As in ``search``.
            doc_id: The document.
            k: Number of documents that the search looks for.
            **options: As in ``PlaidIndex.explain``.

        Returns:
            As ``PlaidIndex.explain`` of the shard.

        Raises:
            InputError: No shard has such a document, or its shard explains nothing from here, as a
                ``RemoteIndex``.
            UnavailableError: Its shard does not answer.
        """
        for name, shard in self._owners(doc_id).items():
            if doc_id in shard:
                explain = getattr(shard, "explain", None)
                if explain is None:
                    raise InputError(
                        f"document {shown(doc_id)} is in shard {name}, a {type(shard).__name__}, which "
                        "explains nothing from here; ask its server with POST /v1/indexes/NAME/explain"
                    )
                explanation: Explanation = explain(query, doc_id, k, **options)
                return explanation
        raise InputError(f"doc_id={shown(doc_id)} is not in the index; check the id")

    def info(self) -> dict[str, Any]:
        """Describe the index.

        Returns:
            Counts, settings that all shards share, and bytes, as ``PlaidIndex.info`` has them, of
            all shards together.
        """
        infos = self._of_all(lambda shard: shard.info())
        return describe_shards(infos, self._path, dim=self._dim, fingerprint=self._fingerprint)

    def close(self) -> None:
        """Close all shards; later uses raise InputError."""
        shards, self._shards = self._shards or {}, None
        for shard in shards.values():
            shard.close()
        self._fan_out.close()

    def _owners(self, doc_id: str) -> Mapping[str, Index]:
        """The shards that may have a document."""
        if not self.is_hashed or not isinstance(doc_id, str):
            return self.shards
        name = list(self.shards)[shard_of(doc_id, len(self.shards))]
        return {name: self.shards[name]}

    def _request(
        self,
        method: str,
        allowed: object,
        timeout_s: float | None,
        allow_partial: bool | None,
        options: Mapping[str, object],
    ) -> ShardRequest:
        if allow_partial is not None:
            expect_flags(allow_partial=allow_partial)
        seconds = _checked_timeout(timeout_s) or self._timeout_s
        ask = None if self.is_hashed else partial(self._known_of_each, timeout_s=seconds)
        return ShardRequest(
            self.shards,
            self._fan_out,
            method,
            split_filter(allowed, self.shards, ask),
            seconds,
            self._allow_partial if allow_partial is None else bool(allow_partial),
            options,
            self._reason,
        )

    def _known_of_each(
        self, ids: Sequence[str], timeout_s: float | None
    ) -> tuple[dict[str, list[str]], dict[str, Exception]]:
        """The ids that each shard has, and the errors of shards that do not answer."""
        parts = (
            ids_by_shard(ids, self.shards) if self.is_hashed else dict.fromkeys(self.shards, ids)
        )
        calls = {
            name: partial(known_ids, self.shards[name], own) for name, own in parts.items() if own
        }
        return self._fan_out(calls, timeout_s)

    def _reason(self, name: str, error: Exception) -> str:
        """Why the shard of a name gave no answer, as results and errors say it."""
        return str(error) or type(error).__name__

    def _of_all(self, ask: Callable[[Index], Answer]) -> dict[str, Answer]:
        """An answer of every shard, in their order; raises as a shard does."""
        calls = {name: partial(ask, shard) for name, shard in self.shards.items()}
        answers, errors = self._fan_out(calls, facts_timeout(self._timeout_s))
        for name, error in errors.items():
            raise UnavailableError(f"shard {name}: {error}") from error
        return {name: answers[name] for name in calls}

    def _expect_alike(self) -> tuple[int, str | None]:
        """The dim and fingerprint of all shards that answer."""
        calls = {
            name: partial(lambda shard: (shard.dim, shard.info().get("fingerprint")), shard)
            for name, shard in self.shards.items()
        }
        answers, errors = self._fan_out(calls, facts_timeout(self._timeout_s))
        if errors and not (self._allow_partial and answers):
            name, error = next(iter(errors.items()))
            if isinstance(error, InputError):
                raise InputError(f"shard {name}: {error}") from error
            raise UnavailableError(
                f"shard {name} does not answer: {self._reason(name, error)}"
            ) from error
        return expect_alike(answers)


def _checked_timeout(timeout_s: object) -> float | None:
    if timeout_s is None:
        return None
    return checked_seconds("timeout_s", timeout_s, cure="pass seconds above 0, or None")


def _restored(
    kind: type[ShardedReader],
    shards: dict[str, Index],
    settings: tuple[bool, float | None, bool, Path | None],
) -> ShardedReader:
    return kind.__new__(kind)._open(shards, *settings)
