"""A compressed index of token embeddings, searched by MaxSim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from colmodern.arguments import checked_path, expect_flags, renamed_keywords
from colmodern.codecs.residuals import ResidualKind
from colmodern.errors import InputError
from colmodern.files import sha256_of_json
from colmodern.index.fields.inputs import Fields, checked_fields
from colmodern.index.finite import naming_documents
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.disk.check import check_index
from colmodern.index.plaid.disk.manifest import read_manifest
from colmodern.index.plaid.disk.storage import IndexSnapshot, open_index
from colmodern.index.plaid.reader import PlaidReader
from colmodern.index.plaid.search.filters import live_docs
from colmodern.index.plaid.search.located import bounds_of, expected_doc_index
from colmodern.index.plaid.search.queries import expect_encoder
from colmodern.index.plaid.search.state import load_state, make_state
from colmodern.index.plaid.write import update
from colmodern.index.plaid.write.attach import attach, open_segments
from colmodern.index.plaid.write.build import BuildInput, build_index
from colmodern.index.plaid.write.shared_codec import settle_with_codec
from colmodern.index.plaid.write.source import open_source
from colmodern.index.plaid.write.spans import has_spans
from colmodern.index.plaid.write.update import ChangeOptions, change_options
from colmodern.kernels.cpu.jit import tell_if_compiling
from colmodern.kernels.device import Devices, resolve_device
from colmodern.progress import Progress, as_progress
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.spans import extent
from colmodern.units import parse_bytes


class PlaidIndex(PlaidReader):
    """A PLAID index in a folder: built, searched and changed; safe to search from many threads.

    Searches see the documents that were there when the index was loaded, and what this object
    itself changed since. See ``load`` for damaged files. A pickle holds the path and the settings,
    and loads the index as it is then.
    """

    @classmethod
    @renamed_keywords(max_ram="max_memory")
    def build(
        cls,
        embeddings: Embeddings | Path | str,
        path: Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        nbits: int = 4,
        n_centroids: int | None = None,
        seed: int = 0,
        max_memory: int | str = "4G",
        codec: ResidualKind | None = None,
        codec_from: PlaidIndex | Path | str | None = None,
        overwrite: bool = False,
        durable: bool = True,
        spans: bool | None = None,
        fields: Fields | None = None,
        device: str | Devices = "cpu",
        progress: Progress | bool | None = None,
    ) -> PlaidIndex:
        """Compress embeddings into an index folder and open it.

        An interrupted build of the same input is resumed.

        Args:
            embeddings: In memory, or a store of any size or its path, which is read in chunks.
            path: The new index folder.
            doc_ids: (n_docs,) unique strings; default the store's ids, or "0", "1", ...
            nbits: 1, 2, 4 or 8 bits for each dimension of a token, besides 3 to 5 bytes a token.
            n_centroids: Number of centroids; default 16 times the root of the number of tokens.
            seed: Seed of the sample and the centroids; the same seed gives the same bytes.
            max_memory: Bytes, or text as "2G", that the build may use.
            codec: "pq" (product quantisation) or "residual" (each dimension alone); default
                "residual" at 4 bits, where it is as good and scored twice as fast, else "pq".
            codec_from: An index, or its path, whose codec is taken over, with its nbits, centroids
                and seed: scores of the two compare, and ``attach`` takes one into the other.
            overwrite: Replace an index at ``path``; it can be read until the new one is complete.
            durable: As in ``add``.
            spans: Whether to keep the characters of the tokens, so that searches can show which
                passages matched; None keeps them where the embeddings have them.
            fields: Values that searches can filter by: one mapping from names to values for each
                document, or such mappings by doc_id. Values are numbers, dates, booleans, text,
                and lists and mappings of them.
            device: As in ``load``; centroids are assigned there, with the same bytes everywhere.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            The new index, loaded on ``device``.

        Raises:
            InputError: An argument is wrong.
            ResourceError: ``max_memory`` is too little.
            StorageError: ``path`` exists without ``overwrite``, is being written, or the disk is
                full.
        """
        path = checked_path("path", path)
        expect_flags(overwrite=overwrite, durable=durable)
        source, ids = open_source(embeddings, doc_ids)
        keeps_spans = _keeps_spans(spans, source)
        table = checked_fields(fields, ids)
        settings, shared = settle_with_codec(
            source, codec_from.path if isinstance(codec_from, PlaidIndex) else codec_from,
            nbits=nbits, codec=codec, n_centroids=n_centroids, seed=seed,
            max_memory=parse_bytes(max_memory, name="max_memory"),
        )  # fmt: skip
        devices, progress = resolve_device(device), as_progress(progress)
        tell_if_compiling(progress.note)
        with naming_documents(ids):
            build_index(
                path,
                BuildInput(source, ids, settings, source.fingerprint, keeps_spans, table, shared),
                progress,
                overwrite=overwrite,
                is_durable=durable,
                devices=devices.gpus,
            )
        return cls.load(path, device=devices)

    @staticmethod
    def check(path: Path | str, *, progress: Progress | bool | None = None) -> None:
        """Read a whole index and compare it with its checksums.

        Args:
            path: The index folder.
            progress: As in ``build``.

        Raises:
            StorageError: A file is damaged; names the first one and what to do.
        """
        check_index(checked_path("path", path), progress)
        load_state(Path(path))

    def __copy__(self) -> PlaidIndex:
        """Copy the index; the copy sees the same documents, and changes of one are its own."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    @property
    def doc_ids(self) -> list[str]:
        """(n_docs,) ids of the documents, in the order in which they were added."""
        view = self._state.view
        return view.doc_ids(view.open_docs())

    def characters(self, doc_id: str) -> tuple[int, int] | None:
        """The characters of its text from a document's first token to its last.

        Args:
            doc_id: A document, which may be a passage of a longer text.

        Returns:
            (start, end) in code points; None where the index keeps none.

        Raises:
            InputError: There is no such document.
        """
        doc_index = expected_doc_index(doc_id, self._state.view)
        bounds = bounds_of(doc_index, self.path, self._state.view) if self.has_spans else None
        return None if bounds is None else extent(bounds)

    @property
    def path(self) -> Path:
        """The index folder, absolute."""
        return self._state.snapshot.folder

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the encoder of its documents, None when unknown."""
        return self._state.snapshot.manifest.fingerprint

    @property
    def version(self) -> str:
        """Digest of the manifest: another one after every change, the same in every process."""
        return sha256_of_json(self._state.snapshot.manifest.model_dump())

    def refresh(self) -> bool:
        """See what other objects and processes changed since; running searches keep what they see.

        Segments that the index still has stay as they are mapped and verified.

        Returns:
            Whether there was a change.

        Raises:
            StorageError: A file is missing or damaged; then the index stays as it was.
        """
        before = self._state.snapshot
        known = before.manifest
        if read_manifest(self.path) == known:
            return False
        snapshot = open_index(self.path, before.segments)
        if snapshot.manifest.codec == known.codec and snapshot.manifest.dim == known.dim:
            self._adopt(snapshot)
        else:  # built again: GPUs hold segments of the same names
            vars(self).update(vars(self.load(self.path, **self._settings)))
        return True

    def add(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        fields: Fields | None = None,
        merge: bool = True,
        durable: bool = True,
        progress: Progress | bool | None = None,
    ) -> None:
        """Add documents as a new segment, compressed by the index's codec.

        Args:
            embeddings: As in ``build``.
            doc_ids: (n_docs,) unique strings; only a store's may be left out.
            fields: As in ``build``, of these documents.
            merge: Merge small segments with the new one when there are many, to keep searches fast.
            durable: Wait until a power cut can no longer undo the change. False takes less time,
                but after a power cut the index may be damaged, unless a later change was durable.
            progress: As in ``build``.

        Raises:
            InputError: An id is in the index already or repeats, or dim or encoder differ.
            StorageError: Another process writes the index, it was built again, or the disk is full.
        """
        options = change_options(durable, merge=merge)
        self._add(embeddings, doc_ids, fields, progress, False, options)

    def attach(
        self,
        source: PlaidIndex | Path | str,
        *,
        durable: bool = True,
        progress: Progress | bool | None = None,
    ) -> int:
        """Add the documents of another index with the same codec, as they are compressed there.

        Another machine can compress them: ``build(..., codec_from=)`` needs the embeddings, and of
        this index only manifest.json and codec/. Every file is compared with its checksum.

        Args:
            source: An index, its path, or the path of one of its segments.
            durable: As in ``add``.
            progress: As in ``build``.

        Returns:
            The number of documents added; those deleted in ``source`` are left out.

        Raises:
            InputError: Its codec or encoder is another, or an id is in the index already.
            StorageError: A file of ``source`` is damaged, or as from ``add``.
        """
        opened = source._state.snapshot if isinstance(source, PlaidIndex) else open_segments(source)
        state = self._state
        return attach(
            state.snapshot, state.codec, opened, self._adopt,
            options=change_options(durable), progress=as_progress(progress),
        )  # fmt: skip

    def known_ids(self, doc_ids: Iterable[str]) -> list[str]:
        """The ids of documents that the index has, of those that are passed.

        Args:
            doc_ids: Ids of documents.

        Returns:
            The known ones, in their order.

        Raises:
            InputError: An id is no text.
        """
        view, ids = self._state.view, id_list("doc_ids", doc_ids, is_ordered=False)
        is_known = np.zeros(len(ids), np.bool_)
        for segment, deleted in zip(view.segments, view.blocked, strict=True):
            is_known |= live_docs(ids, segment, deleted) >= 0
        return [ids[position] for position in np.flatnonzero(is_known).tolist()]

    def delete(self, doc_ids: Iterable[str], *, durable: bool = True) -> int:
        """Delete documents.

        Args:
            doc_ids: Ids of documents in the index.
            durable: As in ``add``.

        Returns:
            The number of deleted documents.

        Raises:
            InputError: An id is not in the index; then none is deleted.
        """
        options = change_options(durable)
        return update.delete(self._state.snapshot, doc_ids, self._adopt, options=options)

    def update(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        fields: Fields | None = None,
        delete: Iterable[str] = (),
        merge: bool = True,
        durable: bool = True,
        progress: Progress | bool | None = None,
    ) -> None:
        """Add documents, and replace those with the same ids and their fields, in one change.

        Args:
            embeddings: As in ``build``.
            doc_ids: As in ``add``.
            fields: As in ``build``, of these documents.
            delete: Ids of other documents, which the same change deletes.
            merge: As in ``add``.
            durable: As in ``add``.
            progress: As in ``build``.

        Raises:
            InputError: An id repeats, one to delete is not there, or dim or encoder differ.
        """
        options = change_options(durable, merge=merge)
        self._add(embeddings, doc_ids, fields, progress, True, options, delete)

    def compact(self, *, durable: bool = True, progress: Progress | bool | None = None) -> None:
        """Merge all segments into one, without the deleted documents; results stay the same.

        Args:
            durable: As in ``add``.
            progress: As in ``build``.
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
        fields: Fields | None,
        progress: Progress | bool | None,
        replaces: bool,
        options: ChangeOptions,
        deleted: Iterable[str] = (),
    ) -> None:
        other_ids = id_list("delete", deleted, is_ordered=False)
        source, ids = open_source(embeddings, doc_ids)
        if doc_ids is None and isinstance(source, TokenEmbeddings):
            raise InputError("doc_ids is missing; pass one new id per document")
        state = self._state
        if source.n_docs and source.dim != self.dim:
            raise InputError(f"embeddings have dim={source.dim}, the index has dim={self.dim}")
        expect_encoder(source.fingerprint, state.snapshot.manifest.fingerprint)
        if state.snapshot.manifest.has_spans and source.n_docs:
            _keeps_spans(True, source)
        table = checked_fields(fields, ids)
        with naming_documents(ids):
            update.add(
                state.snapshot, state.codec, source, ids, table, self._threads, self._adopt,
                replaces=replaces, also_deleted=other_ids, options=options, progress=as_progress(progress),
            )  # fmt: skip

    def _adopt(self, snapshot: IndexSnapshot) -> None:
        state = self._state
        self._current = make_state(snapshot, state.view.codec, state.verification.verify)


def _keeps_spans(spans: bool | None, source: Embeddings) -> bool:
    """Whether an index of these embeddings keeps spans; raises InputError where they have none."""
    if spans is None:
        return has_spans(source)
    expect_flags(spans=spans)
    if spans and source.n_docs and not has_spans(source):
        raise InputError(
            "the index keeps the characters of its tokens, and these embeddings have none; encode "
            "the documents with spans=True or `colmodern encode --spans`"
        )
    return bool(spans)
