"""An index on another machine, which `colmodern serve` answers for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from colmodern.index.fields.inputs import Fields
from colmodern.index.inputs import Embeddings
from colmodern.index.remote.changes import (
    delete,
    document_texts,
    expect_all_known,
    lists_of_ids,
    put,
    records_of_embeddings,
    records_of_texts,
)
from colmodern.index.remote.reader import RemoteReader
from colmodern.ragged.doc_ids import id_list


class RemoteIndex(RemoteReader):
    """An index that a server of `colmodern serve` has; safe to use from many threads.

    It takes embeddings of queries and documents, as the indexes of this machine do, and texts of
    documents, which the server encodes. A pickle holds address and settings.

    A change of many documents goes in several requests. The server makes each of them completely or
    not at all, and a search that begins afterwards sees it. A change that gets no answer in its time
    may have been made: ``update`` with the same documents completes it.
    """

    def add(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        fields: Fields | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Add documents to an index of embeddings.

        Args:
            embeddings: As in ``PlaidIndex.add``, each document with at least one token.
            doc_ids: One new id per document; None for those of a store.
            fields: As in ``PlaidIndex.add``.
            timeout_s: Seconds that each request may take.

        Raises:
            InputError: An id is in the index already or repeats, dim or encoder differ, or the server
                is read-only, or has a collection, which takes texts.
            UnavailableError: The server does not answer, or not in time.
        """
        self._put(embeddings, doc_ids, fields, timeout_s, replaces=False)

    def update(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        fields: Fields | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Add documents, and replace those with the same ids; see ``add``.

        Args:
            embeddings: As in ``add``, like the arguments that follow.
            doc_ids: See there.
            fields: See there.
            timeout_s: See there.

        Raises:
            InputError: As from ``add``, but for known ids.
            UnavailableError: As from ``add``.
        """
        self._put(embeddings, doc_ids, fields, timeout_s, replaces=True)

    def add_texts(
        self,
        texts: Sequence[str],
        doc_ids: Sequence[str],
        *,
        titles: Sequence[str] | None = None,
        fields: Fields | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Add documents by their texts to a collection, or to an index of the server's model.

        Args:
            texts: One text per document.
            doc_ids: One new id per document.
            titles: One title per document, which the model reads before the text.
            fields: As in ``PlaidIndex.add``.
            timeout_s: Seconds that each request may take, with encoding.

        Raises:
            InputError: An id is there already or repeats, or the server is read-only, or has another
                model than the index.
            UnavailableError: The server does not answer, or not in time.
        """
        self._put_texts(texts, doc_ids, titles, fields, timeout_s, replaces=False)

    def update_texts(
        self,
        texts: Sequence[str],
        doc_ids: Sequence[str],
        *,
        titles: Sequence[str] | None = None,
        fields: Fields | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Add documents by their texts, and replace those with the same ids; see ``add_texts``.

        Args:
            texts: As in ``add_texts``, like the arguments that follow.
            doc_ids: See there.
            titles: See there.
            fields: See there.
            timeout_s: See there.

        Raises:
            InputError: As from ``add_texts``, but for known ids.
            UnavailableError: As from ``add_texts``.
        """
        self._put_texts(texts, doc_ids, titles, fields, timeout_s, replaces=True)

    def delete(self, doc_ids: Iterable[str], *, timeout_s: float | None = None) -> int:
        """Delete documents, 500 in a request.

        Args:
            doc_ids: Ids of documents in the index.
            timeout_s: Seconds that the request may take.

        Returns:
            The number of deleted documents.

        Raises:
            InputError: An id is not in the index, or the server is read-only; then none is deleted.
            UnavailableError: The server does not answer, or not in time; the message says how many
                are deleted already.
        """
        client = self._open_client()
        ids = list(dict.fromkeys(id_list("doc_ids", doc_ids, is_ordered=False)))
        requests = lists_of_ids(ids)
        if len(requests) > 1:  # a server looks at the ids of one request at a time
            expect_all_known(ids, self.known_ids(ids))
        delete(client, self._documents, requests, timeout_s=timeout_s)
        return len(ids)

    @property
    def _documents(self) -> str:
        return f"{self._path}/documents"

    def _put(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None,
        fields: Fields | None,
        timeout_s: float | None,
        *,
        replaces: bool,
    ) -> None:
        client = self._open_client()
        fingerprint, requests = records_of_embeddings(embeddings, doc_ids, fields, self.dim)
        put(
            client, self._documents, requests,
            replaces=replaces, timeout_s=timeout_s, fingerprint=fingerprint,
        )  # fmt: skip

    def _put_texts(
        self,
        texts: Sequence[str],
        doc_ids: Sequence[str],
        titles: Sequence[str] | None,
        fields: Fields | None,
        timeout_s: float | None,
        *,
        replaces: bool,
    ) -> None:
        client = self._open_client()
        requests = records_of_texts(document_texts(texts, doc_ids, titles, fields))
        put(client, self._documents, requests, replaces=replaces, timeout_s=timeout_s)
