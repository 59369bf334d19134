"""An index of another machine as its readers use it: search and describe."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from colmodern.arguments import expect_flags
from colmodern.checks import shown
from colmodern.errors import InputError, UnavailableError
from colmodern.index.base import closed_error
from colmodern.index.filters import allowed_ids
from colmodern.index.inputs import query_batch, query_values
from colmodern.index.pages import checked_page
from colmodern.index.remote.http_client import HttpClient
from colmodern.index.spans import SpanSettings, span_settings
from colmodern.passages import PassageHit
from colmodern.progress import Progress, as_progress
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, GroupedHit, Hit, Results, ScoredDoc, Span

# a request has what servers take without other settings
_QUERIES, _IDS = 32, 10_000
_COUNTS = ("documents", "deleted", "tokens", "segments", "centroids")
_FACTS = {"documents", "dim", "index_settings", "index_version", "is_complete", "bytes", "spans"}


class RemoteReader:
    """An index that a server of `colmodern serve` has, to be searched; see RemoteIndex."""

    def __init__(
        self, url: str, name: str, *, api_key: str | None = None, timeout_s: float = 10.0
    ) -> None:
        """Check the address; the server is asked only when the index is used.

        Args:
            url: Address of the server, as "http://10.0.0.7:8080".
            name: Name of the index there.
            api_key: Key that the server asks for, if any.
            timeout_s: Seconds that a request may take, unless a call says otherwise.

        Raises:
            InputError: The address is none of HTTP, or a value is wrong.
        """
        if not isinstance(name, str) or not name:
            raise InputError(f"name={shown(name)}; pass the name of an index of the server")
        self._settings = {"url": url, "name": name, "api_key": api_key, "timeout_s": timeout_s}
        self._client: HttpClient | None = HttpClient(url, api_key=api_key, timeout_s=timeout_s)
        self._path = f"/v1/indexes/{quote(name, safe='')}"
        self._facts: dict[str, Any] | None = None

    def __repr__(self) -> str:
        if self._client is None:
            return f"{type(self).__name__}(closed)"
        return f"{type(self).__name__}({self._settings['url']!r}, {self._settings['name']!r})"

    def __reduce__(self) -> tuple[object, ...]:
        self._open_client()
        return _restored, (type(self), self._settings)

    @property
    def n_docs(self) -> int:
        """Number of documents, as the server has them now."""
        return int(self._whole_facts()["documents"])

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        self._open_client()
        facts = self._facts or self._read_facts()
        return int(facts["dim"])

    @property
    def has_spans(self) -> bool:
        """Whether it keeps the characters of its tokens."""
        return bool(self._read_facts()["spans"])

    @property
    def version(self) -> str:
        """Digest that changes with the index."""
        return str(self._whole_facts()["index_version"])

    @property
    def read_only(self) -> bool:
        """Whether its server refuses changes."""
        return bool(self._read_facts().get("read_only", True))

    def __len__(self) -> int:
        return self.n_docs

    def __contains__(self, doc_id: object) -> bool:
        client = self._open_client()
        if not isinstance(doc_id, str) or not doc_id:
            return False
        path = f"{self._path}/documents/{quote(doc_id, safe='', errors='surrogatepass')}"
        return client.exists(path)

    def known_ids(self, doc_ids: Iterable[str]) -> list[str]:
        """The ids of documents that the index has, of those that are passed.

        Args:
            doc_ids: Ids of documents; 10,000 go in one request.

        Returns:
            The known ones, in their order.

        Raises:
            InputError: An id is no text.
            UnavailableError: The server does not answer, or not in time.
        """
        client, ids = self._open_client(), id_list("doc_ids", doc_ids, is_ordered=False)
        known: list[str] = []
        for start in range(0, len(ids), _IDS):
            path = f"{self._path}/lookup"
            answer = client.post(path, {"ids": ids[start : start + _IDS]})
            if not isinstance(answer.get("ids"), list):
                raise client.unreadable(path)
            known += map(str, answer["ids"])
        return known

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        filter: Iterable[str] | Mapping[str, object] | None = None,
        exact: bool = False,
        spans: bool | SpanSettings = False,
        offset: int = 0,
        group_by: str | None = None,
        timeout_s: float | None = None,
    ) -> Results[ScoredDoc]:
        """The best ``k`` documents for one (n_query_tokens, dim) query, best first.

        Args:
            query: As ``PlaidIndex.search`` takes it, like the arguments that follow.
            k: See there.
            nprobe: See there.
            n_candidates: See there.
            filter: Ids of allowed documents, or conditions on fields.
            exact: See ``PlaidIndex.search``.
            spans: True, or SpanSettings without texts. The spans of a collection count from a
                document's text.
            offset: See ``PlaidIndex.search``.
            group_by: See there.
            timeout_s: Seconds that the request may take.

        Returns:
            The best documents with their scores, as Hit where ``spans`` were asked for. Those of a
            collection of passages are PassageHits, whose characters count from a document's text.

        Raises:
            InputError: As from ``PlaidIndex.search``; or the server refuses the request.
            UnavailableError: The server does not answer, or not in time.
        """
        values = query_values(query, self.dim)
        queries = TokenEmbeddings(values, np.array([0, len(values)]))
        [results] = self.search_batch(
            queries,
            k,
            nprobe=nprobe,
            n_candidates=n_candidates,
            filter=filter,
            exact=exact,
            spans=spans,
            offset=offset,
            group_by=group_by,
            timeout_s=timeout_s,
        )
        return Results(results)

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 10,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        filter: Iterable[str] | Mapping[str, object] | None = None,
        exact: bool = False,
        spans: bool | SpanSettings = False,
        offset: int = 0,
        group_by: str | None = None,
        timeout_s: float | None = None,
        progress: Progress | bool | None = None,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            queries: Embeddings as an encoder returns them; 32 go in one request.
            k: Number of documents of each query, at most.
            nprobe: As in ``search``, like the arguments that follow.
            n_candidates: See there.
            filter: See there.
            exact: See there.
            spans: See there.
            offset: See there.
            group_by: See there.
            timeout_s: Seconds that each request may take.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            One list a query, best first.

        Raises:
            InputError: As from ``search``.
            UnavailableError: Likewise.
        """
        expect_flags(exact=exact)
        progress, settings = as_progress(progress), span_settings(spans)
        checked = query_batch(queries, self.dim)
        page = checked_page(k, offset, group_by)
        body = {
            **page._asdict(),
            "nprobe": nprobe,
            "n_candidates": n_candidates,
            "filter": None if filter is None else _checked_filter(filter),
            "exact": bool(exact),
            "spans": _span_options(settings),
            "texts": False,
            "fingerprint": checked.fingerprint,
        }
        are_plain = settings is None and group_by is None
        results: BatchResults[ScoredDoc] = BatchResults()
        progress.start("search", len(checked), unit="queries")
        for start in range(0, len(checked), _QUERIES):
            part = checked[start : start + _QUERIES]
            results += self._search(part, body, timeout_s, are_plain=are_plain)
            progress.advance(len(part))
        progress.finish()
        return results

    def info(self) -> dict[str, Any]:
        """Describe the index, as the server does.

        Returns:
            Counts, settings and bytes as ``PlaidIndex.info`` has them; the path is its address.

        Raises:
            UnavailableError: The server does not answer, or counts only some of its shards.
        """
        facts = self._whole_facts()
        return {
            "path": f"{self._settings['url']}{self._path}",
            **{name: facts.get(name, 0) for name in _COUNTS},
            "dim": facts["dim"],
            "fingerprint": facts.get("fingerprint"),
            "fields": facts.get("fields", {}),
            "settings": facts["index_settings"],
            "codec_sha256": facts.get("codec_sha256"),
            "bytes": facts["bytes"],
            "bytes_per_token": facts["bytes_per_token"],
        }

    def close(self) -> None:
        """Close the connections; later uses raise InputError."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _search(
        self,
        queries: TokenEmbeddings,
        body: Mapping[str, object],
        timeout_s: float | None,
        *,
        are_plain: bool,
    ) -> list[Results[ScoredDoc]]:
        client = self._open_client()
        embeddings = [rows_as_json(query, self.dim) for query in queries]
        answer = client.post(
            f"{self._path}/search", {**body, "embeddings": embeddings}, timeout_s=timeout_s
        )
        if not answer.get("is_complete", False):
            missing = answer.get("missing")
            reasons = missing.items() if isinstance(missing, dict) else ()
            why = "".join(f"; {name}: {reason}" for name, reason in reasons)
            raise UnavailableError(f"{self!r} answered incompletely{why}; search again")
        try:
            rankings = [_results(each["hits"], are_plain=are_plain) for each in answer["results"]]
        except (KeyError, TypeError, ValueError) as error:
            raise client.unreadable(f"{self._path}/search") from error
        if len(rankings) != len(queries):
            raise client.unreadable(f"{self._path}/search")
        return rankings

    def _read_facts(self) -> dict[str, Any]:
        """What the server says of the index now."""
        facts = self._open_client().get(self._path)
        if lacking := _FACTS - facts.keys():
            raise UnavailableError(
                f"{self!r} says nothing of its {', '.join(sorted(lacking))}: the server is not one of "
                "this version; use the same colmodern on both sides"
            )
        self._facts = facts
        return facts

    def _whole_facts(self) -> dict[str, Any]:
        """What the server says of the index now; raises UnavailableError where shards are not counted."""
        facts = self._read_facts()
        if not facts["is_complete"]:
            raise UnavailableError(
                f"{self!r} counts only the shards that answer its server; ask again when all of them do (a "
                "search says which are missing)"
            )
        return facts

    def _open_client(self) -> HttpClient:
        if self._client is None:
            raise closed_error()
        return self._client


def _restored(kind: type[RemoteReader], settings: dict[str, Any]) -> RemoteReader:
    return kind(**settings)


def rows_as_json(rows: npt.NDArray[np.floating], dim: int) -> dict[str, object]:
    """A text's embeddings in base64; a query without tokens is a row of zeros, which scores the same."""
    values = np.asarray(rows, "<f4") if len(rows) else np.zeros((1, dim), "<f4")
    text = b64encode(np.ascontiguousarray(values).tobytes()).decode()
    return {"embedding": text, "shape": list(values.shape), "dtype": "float32"}


def _hit(hit: Mapping[str, Any]) -> ScoredDoc:
    """A result of an answer, as an index of this machine would give it."""
    doc_id, score = str(hit["id"]), float(hit["score"])
    spans = [Span(int(s["start"]), int(s["end"]), float(s["score"])) for s in hit["spans"]]
    if "group" in hit:
        return GroupedHit(doc_id, score, spans, group=hit["group"])
    if (passage := hit.get("passage")) is not None:
        characters = None
        if passage["start"] is not None:
            characters = int(passage["start"]), int(passage["end"])
        number = int(passage["number"])
        return PassageHit(doc_id, score, spans, passage=number, characters=characters)
    return Hit(doc_id, score, spans)


def _results(hits: Iterable[Mapping[str, Any]], *, are_plain: bool) -> Results[ScoredDoc]:
    """The results of an answer; are_plain: without spans and groups."""
    return Results(
        ScoredDoc(str(hit["id"]), float(hit["score"]))
        if are_plain and "passage" not in hit
        else _hit({"spans": [], **hit})
        for hit in hits
    )


def _checked_filter(allowed: object) -> list[str] | Mapping[str, object]:
    if isinstance(allowed, Mapping):
        return allowed
    if callable(allowed):
        raise InputError(
            f"filter={shown(allowed)}: an index on another machine calls no functions; pass a list of "
            "doc_ids, or conditions on fields"
        )
    return allowed_ids(allowed)


def _span_options(settings: SpanSettings | None) -> bool | dict[str, object]:
    if settings is None:
        return False
    if settings.texts is not None:
        raise InputError(
            "spans has texts, and the server has the texts of a collection itself; leave texts out"
        )
    names = ("max_spans", "min_share", "max_gap", "max_length")
    return {name: getattr(settings, name) for name in names}
