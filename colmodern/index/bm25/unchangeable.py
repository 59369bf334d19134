"""What an index that never changes says to those who would change it."""

from __future__ import annotations

from colmodern.errors import InputError


def unchangeable_error() -> InputError:
    """The error of changing a BM25 index."""
    return InputError(
        "a BM25 index does not change: each of its scores depends on all documents; build it again "
        "from all texts, with overwrite=True in Python or --overwrite on the command line"
    )


class Unchangeable:
    """The changes that other indexes have, each refused."""

    def add(self, *documents: object, **options: object) -> None:
        """Refused: each score of BM25 depends on all documents, so the index is built again.

        Args:
            *documents: Whatever is to be added, updated or deleted.
            **options: Options of such changes.

        Raises:
            InputError: Always.
        """
        raise unchangeable_error()

    def update(self, *documents: object, **options: object) -> None:
        """Refused, as ``add`` is.

        Args:
            *documents: Whatever is to be changed.
            **options: Options of such changes.

        Raises:
            InputError: Always.
        """
        raise unchangeable_error()

    def delete(self, *documents: object, **options: object) -> None:
        """Refused, as ``add`` is.

        Args:
            *documents: Whatever is to be changed.
            **options: Options of such changes.

        Raises:
            InputError: Always.
        """
        raise unchangeable_error()

    def compact(self, *documents: object, **options: object) -> None:
        """Refused: there is nothing to merge in an index that does not change.

        Args:
            *documents: Whatever is passed.
            **options: Options of such changes.

        Raises:
            InputError: Always.
        """
        raise unchangeable_error()
