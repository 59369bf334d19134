"""Several indexes that are searched as one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colmodern.arguments import checked_path
from colmodern.errors import InputError
from colmodern.index.base import Index
from colmodern.index.fields.inputs import Fields
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.disk.manifest import codec_digest
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.sharded import changes
from colmodern.index.sharded.build import build_shards
from colmodern.index.sharded.changes import local
from colmodern.index.sharded.check import check_shards, codec_error
from colmodern.index.sharded.folder import read_shards_manifest, shard_folder
from colmodern.index.sharded.reader import ShardedReader
from colmodern.kernels.device import Devices
from colmodern.progress import Progress, as_progress
from colmodern.threads import cpu_count

if TYPE_CHECKING:
    from colmodern.index.plaid.disk.verify import Verify
    from colmodern.index.plaid.search.first_answer import WhileCompiling


class ShardedIndex(ShardedReader):
    """Several indexes that are searched as one; safe to search from many threads.

    A shard is any index: a ``PlaidIndex``, an ``ExactIndex``, a ``RemoteIndex`` of another machine,
    or another object that meets their interface. All shards are searched at the same time, and
    their results are merged by score, then doc_id. With one codec in all shards, scores are those
    of one index of all documents; see the guide for shards with codecs of their own.

    An answer is never silently short: where a shard does not answer, a search raises
    UnavailableError, unless ``allow_partial`` asks for the results of the others. Such results say
    so: ``is_complete`` is False, and ``shards`` names what is missing and why.

    Attributes:
        shards: The shards by their names.
        is_hashed: Whether documents lie where ``shard_of`` says.
    """

    @classmethod
    def build(
        cls,
        embeddings: Embeddings | Path | str,
        path: Path | str,
        n_shards: int,
        doc_ids: Sequence[str] | None = None,
        *,
        progress: Progress | bool | None = None,
        **settings: Any,
    ) -> ShardedIndex:
        """Compress embeddings into a new folder of shards with one codec, and open it.

        An interrupted build of the same store is resumed. Until it is finished, it takes the room of
        two such indexes.

        Args:
            embeddings: As in ``PlaidIndex.build``.
            path: The new folder.
            n_shards: Number of shards.
            doc_ids: As in ``PlaidIndex.build``.
            progress: Likewise.
            **settings: Other arguments of ``PlaidIndex.build``, as ``nbits``.

        Returns:
            The new shards.

        Raises:
            InputError: An argument is wrong.
            ResourceError: ``max_memory`` is too little.
            StorageError: ``path`` exists or is being written, or the disk is full.
        """
        build_shards(embeddings, path, n_shards, doc_ids, as_progress(progress), **settings)
        return cls.load(path)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        n_threads: int | None = None,
        device: str | Devices = "cpu",
        device_max_memory: int | str | None = None,
        verify: Verify = "lazy",
        while_compiling: WhileCompiling | None = None,
        timeout_s: float | None = None,
        allow_partial: bool = False,
    ) -> ShardedIndex:
        """Open a folder of shards.

        Args:
            path: The folder that `colmodern index shard` wrote.
            n_threads: Threads of all shards together; default all.
            device: As in ``PlaidIndex.load``, the same for each shard.
            device_max_memory: Likewise.
            verify: Likewise.
            while_compiling: Likewise.
            timeout_s: As in the class.
            allow_partial: As in the class.

        Returns:
            The open shards.

        Raises:
            StorageError: The folder or a shard is missing, unfinished or damaged, or a shard was
                built again with another codec; the message names it.
        """
        folder = Path(os.path.abspath(checked_path("path", path)))
        manifest = read_shards_manifest(folder)
        n_each = max(1, (n_threads or cpu_count()) // len(manifest.shards))
        shards: dict[str, Index] = {}
        for name in manifest.shards:
            shard = PlaidIndex.load(
                shard_folder(folder, name),
                n_threads=n_each,
                device=device,
                device_max_memory=device_max_memory,
                verify=verify,
                while_compiling=while_compiling,
            )
            if codec_digest(shard._state.snapshot.manifest) != manifest.codec:
                raise codec_error(folder / name, folder)
            shards[name] = shard
        return cls.__new__(cls)._open(shards, True, timeout_s, allow_partial, folder)

    @staticmethod
    def check(path: Path | str, *, progress: Progress | bool | None = None) -> None:
        """Read all shards of a folder and compare them with their checksums.

        Args:
            path: The folder.
            progress: True for a bar on stderr.

        Raises:
            StorageError: A file is damaged, a document lies in another shard than its id says, or
                a shard has another codec; names the first fault.
        """
        check_shards(Path(os.path.abspath(checked_path("path", path))), progress)

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
        """Add documents, each to the shard that its id hashes to.

        Documents go in chunks of a million tokens. Of each chunk a shard gets all of its documents or
        none. When one fails, the error says which shards have a part of the change already;
        ``update`` with the same documents then completes it.

        Args:
            embeddings: As in ``PlaidIndex.add``, like the arguments that follow.
            doc_ids: See there.
            fields: See there.
            merge: See there; a server decides itself.
            durable: Likewise.
            progress: See there.

        Raises:
            InputError: An id is in the index already or repeats, dim or encoder differ, shards were
                joined without ``is_hashed``, or one cannot be changed from here or is read-only.
            StorageError: As from ``PlaidIndex.add``; names the shard.
        """
        self._put(embeddings, doc_ids, fields, progress, False, merge=merge, durable=durable)

    def update(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        fields: Fields | None = None,
        merge: bool = True,
        durable: bool = True,
        progress: Progress | bool | None = None,
    ) -> None:
        """Add documents, and replace those with the same ids; see ``add``.

        Args:
            embeddings: As in ``add``, like the arguments that follow.
            doc_ids: See there.
            fields: See there.
            merge: See there.
            durable: See there.
            progress: See there.

        Raises:
            InputError: As from ``add``, but for known ids.
            StorageError: As from ``add``.
        """
        self._put(embeddings, doc_ids, fields, progress, True, merge=merge, durable=durable)

    def add_texts(
        self,
        texts: Sequence[str],
        doc_ids: Sequence[str],
        *,
        titles: Sequence[str] | None = None,
        fields: Fields | None = None,
    ) -> None:
        """Add documents by their texts to shards of servers, which encode them; see ``add``.

        Args:
            texts: As in ``RemoteIndex.add_texts``, like the arguments that follow.
            doc_ids: See there.
            titles: See there.
            fields: See there.

        Raises:
            InputError: As from ``add``; or a shard takes no texts.
            UnavailableError: A server does not answer; names the shard.
        """
        self._expect_hashed()
        changes.put_texts(self.shards, texts, doc_ids, titles, fields, replaces=False)

    def update_texts(
        self,
        texts: Sequence[str],
        doc_ids: Sequence[str],
        *,
        titles: Sequence[str] | None = None,
        fields: Fields | None = None,
    ) -> None:
        """Add documents by their texts, and replace those with the same ids; see ``add_texts``.

        Args:
            texts: As in ``add_texts``, like the arguments that follow.
            doc_ids: See there.
            titles: See there.
            fields: See there.

        Raises:
            InputError: As from ``add_texts``, but for known ids.
            UnavailableError: As from ``add_texts``.
        """
        self._expect_hashed()
        changes.put_texts(self.shards, texts, doc_ids, titles, fields, replaces=True)

    def delete(self, doc_ids: Iterable[str], *, durable: bool = True) -> int:
        """Delete documents.

        When a shard fails, the error says which shards have deleted theirs already, and
        ``delete(known_ids(doc_ids))`` deletes the rest.

        Args:
            doc_ids: Ids of documents in the index.
            durable: As in ``add``: a server decides itself.

        Returns:
            The number of deleted documents.

        Raises:
            InputError: An id is not in the index; then none is deleted. Or as from ``add``.
            StorageError: As from ``add``.
        """
        self._expect_hashed()
        return changes.delete(self.shards, doc_ids, durable=durable)

    def compact(self, *, durable: bool = True, progress: Progress | bool | None = None) -> None:
        """Merge the segments of each shard into one, without the deleted documents.

        Args:
            durable: As in ``add``.
            progress: As in ``add``.
        """
        for name, shard in self.shards.items():
            local(name, shard).compact(durable=durable, progress=progress)

    def refresh(self) -> bool:
        """See what other objects and processes changed since.

        Returns:
            Whether there was a change in a shard of this machine; others are always as they are now.
        """
        changed = [shard.refresh() for shard in self.shards.values() if hasattr(shard, "refresh")]
        return any(changed)

    def _put(
        self,
        embeddings: Embeddings | Path | str,
        doc_ids: Sequence[str] | None,
        fields: Fields | None,
        progress: Progress | bool | None,
        replaces: bool,
        **options: Any,
    ) -> None:
        self._expect_hashed()
        changes.put(
            self.shards, embeddings, doc_ids, fields, as_progress(progress),
            replaces=replaces, fingerprint=self._fingerprint, dim=self._dim, **options,
        )  # fmt: skip

    def _expect_hashed(self) -> None:
        if not self.is_hashed:
            raise InputError(
                "shards that were joined without is_hashed=True do not say where a document belongs; "
                "change the shard itself, or open a folder with ShardedIndex.load"
            )
