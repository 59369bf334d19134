"""An open collection: its state, its encoder, and its documents by id."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from colmodern.arguments import checked_path, expect_flags
from colmodern.collection.describe import describe, verify
from colmodern.collection.documents import StoredDocument
from colmodern.collection.hits import expected_documents
from colmodern.collection.model import encoder_of, expect_same
from colmodern.collection.state import State, is_current, load_state
from colmodern.encoder.encoder import Encoder
from colmodern.errors import InputError
from colmodern.index.plaid.index import PlaidIndex
from colmodern.notebook import html_view
from colmodern.progress import Progress, as_progress
from colmodern.ragged.doc_ids import id_list
from colmodern.types import PassageRank

if TYPE_CHECKING:
    from typing_extensions import Self


class OpenCollection:
    """A collection's folder, opened, and its documents by id.

    Safe to search from many threads. Searches see the documents that were there when it was opened,
    and later ones after ``refresh``. A pickle holds the path and opens the collection as it is then.

    Attributes:
        folder: The folder, absolute.
        read_only: Whether changes are refused.
    """

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool,
        device: str,
        trust_remote_code: bool,
        encoder: Encoder | None,
    ) -> None:
        """Open a collection; callers use ``open`` or ``create``.

        Args:
            folder: The folder, absolute.
            read_only: Whether to refuse changes.
            device: Where encoder and index are.
            trust_remote_code: Whether to run the Python code of the checkpoint.
            encoder: The collection's encoder, None to load it when it is needed.
        """
        self.folder = folder
        self.read_only = read_only
        self._device = device
        self._trust_remote_code = trust_remote_code
        self._encoder = encoder
        self._loading = Lock()
        self._current: State | None = load_state(folder, self._open_index)
        if encoder is not None:
            expect_same(folder, self._state.manifest, encoder)

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        read_only: bool = False,
        device: str = "auto",
        encoder: Encoder | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """Open a collection; its model is loaded when it is first needed.

        Args:
            folder: The folder.
            read_only: Whether to refuse changes.
            device: Where encoder and index are, as Encoder.from_pretrained takes it.
            encoder: The collection's encoder, where it is loaded already.
            trust_remote_code: Whether to run the Python code of the checkpoint.

        Returns:
            The collection as it is now.

        Raises:
            StorageError: The folder is no collection, or is damaged; or ``encoder`` is another one.
        """
        path = Path(os.path.abspath(checked_path("folder", folder)))
        expect_flags(read_only=read_only, trust_remote_code=trust_remote_code)
        if not isinstance(encoder, Encoder | None):
            raise InputError(f"encoder is a {type(encoder).__name__}; pass an Encoder, or None")
        return cls(
            path,
            read_only=read_only,
            device=device,
            trust_remote_code=trust_remote_code,
            encoder=encoder,
        )

    def __repr__(self) -> str:
        if self._current is None:
            return f"{type(self).__name__}(closed)"
        model = self._state.manifest.encoder.model
        mode = ", read_only=True" if self.read_only else ""
        name = type(self).__name__
        return f"{name}({str(self.folder)!r}, n_docs={len(self)}, model={model!r}{mode})"

    def _repr_html_(self) -> str:
        return html_view("collection_html", self)

    def __reduce__(self) -> tuple[object, ...]:
        return _open, (
            type(self),
            self.folder,
            self.read_only,
            self._device,
            self._trust_remote_code,
        )

    def __copy__(self) -> Self:
        """Copy the collection; the copy sees the same documents, and changes of one are its own."""
        other = object.__new__(type(self))
        state = self._state
        vars(other).update({**vars(self), "_current": replace(state, index=copy.copy(state.index))})
        return other

    def __len__(self) -> int:
        return self._state.n_docs

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.doc_ids())

    def __getitem__(self, doc_id: str) -> StoredDocument:
        return self.get([doc_id])[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def encoder(self) -> Encoder:
        """The encoder of queries and documents, loaded at the first use.

        Raises:
            CheckpointError: The model cannot be read.
            StorageError: It has changed since the documents were encoded.
        """
        with self._loading:
            if self._encoder is None:
                self._encoder = encoder_of(
                    self.folder,
                    self._state.manifest,
                    device=self._device,
                    trust_remote_code=self._trust_remote_code,
                )
            return self._encoder

    @property
    def has_spans(self) -> bool:
        """Whether searches can show the passages that matched."""
        return self._state.manifest.spans

    @property
    def passages(self) -> PassageRank | None:
        """How passages rank their documents: "best" or "sum"; None where documents are whole."""
        return self._state.manifest.passages

    @property
    def title_separator(self) -> str:
        """What stands between a document's title and its text when it is encoded."""
        return self._state.manifest.title_separator

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the encoder of its documents."""
        return self._state.manifest.encoder.fingerprint

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return self._state.dim

    @property
    def version(self) -> str:
        """Digest of documents and model: another one after every change, the same in every process."""
        return self._state.version

    def refresh(self) -> bool:
        """See what other processes changed since; running searches keep what they see.

        Returns:
            Whether there was a change.
        """
        if is_current(self.folder, self._state):
            return False
        self._current = load_state(self.folder, self._open_index, self._state)
        return True

    def get(self, ids: Iterable[str]) -> list[StoredDocument]:
        """Read documents by their ids.

        Args:
            ids: Ids of documents in the collection.

        Returns:
            The documents, in the order of ``ids``.

        Raises:
            InputError: An id is not in the collection.
            StorageError: A text is damaged.
        """
        state = self._state
        return expected_documents(state, id_list("ids", ids, is_ordered=True))

    def info(self) -> dict[str, Any]:
        """Describe the collection.

        Returns:
            Counts, model, settings, and bytes on disk of texts and index.
        """
        return describe(self.folder, self._state)

    def check(self, *, progress: Progress | bool | None = None) -> None:
        """Read the whole collection and compare it with its checksums.

        Args:
            progress: True for a bar on stderr, or an object that receives the steps.

        Raises:
            StorageError: A file is damaged, or a document lacks its text; names the first one.
        """
        verify(self.folder, self._state, as_progress(progress))

    def close(self) -> None:
        """Release mapped files and the model; later calls raise InputError."""
        if self._current is not None and self._current.index is not None:
            self._current.index.close()
        self._current = self._encoder = None

    @property
    def _state(self) -> State:
        if self._current is None:
            raise InputError("the collection is closed; open it again")
        return self._current

    def _loaded(self) -> Encoder:
        return self.encoder

    def _open_index(self, path: Path) -> PlaidIndex:
        return PlaidIndex.load(path, device=self._device)


def _open(
    kind: type[OpenCollection], folder: Path, read_only: bool, device: str, trusts: bool
) -> OpenCollection:
    return kind.open(folder, read_only=read_only, device=device, trust_remote_code=trusts)
