"""An index that is served: many searches at a time, one change at a time, and changes of others."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from colmodern.collection.collection import Collection
from colmodern.collection.documents import StoredDocument
from colmodern.collection.manifest import is_collection_folder, read_manifest
from colmodern.collection.model import EncodedDocuments
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ColmodernError, InputError, StorageError
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.sharded.folder import is_sharded
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.served_state import Searched, ServedState
from colmodern.writer_lock import LockedError

_RETRY = 0.05  # seconds until another process's lock is tried again
_log = logging.getLogger(__name__)


def expect_folder(name: str, folder: Path | str) -> None:
    """Raise StorageError where an index that is to be served has no folder."""
    if not os.path.isdir(folder):
        raise StorageError(
            f"index {name!r}: there is no folder {os.path.abspath(folder)}; give a collection or an index"
        )


class ServedIndex:
    """A folder that the server searches and changes: a collection, or an index of embeddings alone.

    Searches take ``state`` once and use it to their end. A change works on a copy and replaces the
    state when it is complete, so that no search waits for it.

    Attributes:
        name: Its name in paths.
        folder: The folder.
        read_only: Whether changes are refused.
        fault: Why the last change of another process could not be read, else None.
    """

    def __init__(
        self, name: str, folder: Path | str, encoder: Encoder | None, *, read_only: bool = False
    ) -> None:
        """Open the folder.

        Args:
            name: Its name in paths.
            folder: The folder of a collection or an index.
            encoder: The server's model, None for a server of embeddings alone.
            read_only: Whether to refuse changes.

        Raises:
            StorageError: The folder holds neither, or is damaged.
        """
        self.name = name
        self.folder = Path(os.path.abspath(folder))
        self.read_only = read_only
        self.fault: str | None = None
        self._encoder = encoder
        self._changing = Lock()
        self._state: ServedState | None = ServedState(self._open(), encoder)

    @property
    def state(self) -> ServedState:
        """The index as it is now; raises InputError once it is closed."""
        if self._state is None:
            raise InputError(f"index {self.name!r} is closed")
        return self._state

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return self.state.n_docs

    @property
    def version(self) -> str:
        """Digest of the manifest."""
        return self.state.version

    def warn_of_texts(self) -> None:
        """Log a warning where the server's model is not that of the index, which takes no texts then."""
        try:
            self.state.expect_texts()
        except InputError as error:
            _log.warning("index %r takes no texts: %s", self.name, error)

    def warm(self) -> None:
        """Verify the files and compile the kernels of searches, by searching."""
        if self.n_docs:
            query = np.zeros((1, self.state.dim), np.float32)
            self.state.search(TokenEmbeddings.from_list([query, query]), 1)

    def refresh(self) -> bool:
        """See what other processes changed; searches that run keep what they see.

        A change that cannot be read leaves the index as it was; each fault is logged once.

        Returns:
            Whether there was a change.
        """
        if self._state is None or not self._changing.acquire(blocking=False):
            return False  # the change that is being made begins with what others changed
        try:
            searched = self.state.copied()
            try:
                is_changed = searched.refresh()
            except ColmodernError as error:
                if self.fault != str(error):
                    _log.error("index %r stays as it was: %s", self.name, error)
                self.fault = str(error)
                return False
            self.fault = None
            if is_changed:
                self._state = ServedState(searched, self._encoder)
            return is_changed
        finally:
            self._changing.release()

    def put(
        self,
        documents: Sequence[StoredDocument],
        embeddings: EncodedDocuments,
        *,
        replaces: bool = True,
        seconds: float,
    ) -> ServedState:
        """Add documents; all or none.

        Args:
            documents: The documents; an index of embeddings alone keeps their ids and fields.
            embeddings: What the server's model made of ``state.model_texts(documents)``, as
                ``state.encoded`` gives it, or what an index of embeddings alone is given by its client.
            replaces: Whether documents with the same ids are replaced, and not refused.
            seconds: How long to wait for other changes.

        Returns:
            The state after the change.

        Raises:
            InputError: The index is read-only, or a document or an embedding does not fit it.
            LockedError: Another change took longer.
            StorageError: The disk is full.
        """

        def change(searched: Searched) -> None:
            put: Callable[..., object] = searched.update if replaces else searched.add
            if isinstance(searched, Collection):
                put(documents, embeddings=embeddings)
            else:
                ids = [document.doc_id for document in documents]
                put(embeddings, ids, fields=[document.fields for document in documents])

        return self._change(change, seconds)

    def delete(self, ids: Sequence[str], *, seconds: float) -> ServedState:
        """Delete documents; all or none.

        Args:
            ids: Ids of documents of the index.
            seconds: How long to wait for other changes.

        Returns:
            The state after the change.

        Raises:
            InputError: The index is read-only, or has no such document.
            LockedError: Another change took longer.
        """
        return self._change(lambda searched: searched.delete(ids), seconds)

    def close(self) -> None:
        """Give up the files; later searches raise InputError, and running ones go on."""
        with self._changing:
            self._state = None

    def _change(self, change: Callable[[Searched], object], seconds: float) -> ServedState:
        """Make a change as the only writer."""
        if self.read_only:
            raise InputError(f"index {self.name!r} is served with read_only; change it elsewhere")
        deadline = time.monotonic() + seconds
        if not self._changing.acquire(timeout=max(0.0, seconds)):
            raise LockedError(f"index {self.name!r} is being changed; try again later")
        try:
            before = self.state
            searched = before.copied()
            try:
                _patiently(change, searched, deadline)
            finally:
                if searched.version != before.version:  # also where it failed after it was made
                    self._state = ServedState(searched, self._encoder)
            return self.state
        finally:
            self._changing.release()

    def _open(self) -> Searched:
        encoder = self._encoder
        device = "auto" if encoder is None else encoder.device
        expect_folder(self.name, self.folder)
        if is_sharded(self.folder):
            raise StorageError(
                f"index {self.name!r}: {self.folder} holds shards; serve them on a cluster with --ray, or "
                "each of them as an index, which RemoteIndex and ShardedIndex then join"
            )
        if not is_collection_folder(self.folder):
            return PlaidIndex.load(self.folder, device=device)
        own = read_manifest(self.folder).encoder.fingerprint
        if encoder is not None and encoder.fingerprint("document") != own:
            encoder = None  # the collection loads its own where it is needed
        return Collection.open(
            self.folder, read_only=self.read_only, device=device, encoder=encoder
        )


def _patiently(change: Callable[[Searched], object], searched: Searched, deadline: float) -> None:
    """Make a change as soon as no other process writes; raises LockedError after the deadline."""
    while True:
        try:
            change(searched)
            return
        except LockedError:  # nothing was changed yet
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(_RETRY, left))
