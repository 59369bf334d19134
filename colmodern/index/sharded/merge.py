"""Answers of shards, merged by score, then doc_id: as one index of all documents ranks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from colmodern.checks import shown
from colmodern.errors import StorageError
from colmodern.index.pages import Page, first_of_each
from colmodern.types import ScoredDoc


def merged(answers: Mapping[str, Sequence[ScoredDoc]], page: Page) -> list[ScoredDoc]:
    """The wanted part of the ranking of all shards, best first, ties by the smaller doc_id.

    Args:
        answers: The best ``page.end`` documents, or groups, of each shard, by its name.
        page: What is wanted of the ranking.

    Raises:
        StorageError: Two shards have the same document.
    """
    best = sorted(chain.from_iterable(answers.values()), key=lambda doc: (-doc.score, doc.doc_id))
    counts = Counter(document.doc_id for document in best)
    if len(counts) < len(best):
        repeated = next(doc_id for doc_id, count in counts.items() if count > 1)
        owners = [
            name
            for name, results in answers.items()
            if any(document.doc_id == repeated for document in results)
        ]
        raise repeated_error(repeated, owners)
    if page.group_by is not None:
        best = first_of_each(best, [getattr(hit, "group", None) for hit in best])
    return best[page.offset : page.end]


def repeated_error(doc_id: str, names: Sequence[str]) -> StorageError:
    """The error of a document that several shards have; names: of these shards."""
    return StorageError(
        f"document {shown(doc_id)} is in the shards {' and '.join(names)}; delete it in all but one "
        "of them"
    )
