"""Options that filter, group and page the results of a search."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.passages import document_and_number

if TYPE_CHECKING:
    from colmodern.index.fields.table import FieldTable
    from colmodern.ragged.store import EmbeddingStore


class PageOptions(NamedTuple):
    """The documents that a search may return, and which of its results are wanted."""

    filter: dict[str, Any] | None = None
    offset: int = 0
    group_by: str | None = None

    @property
    def by_option(self) -> dict[str, object]:
        """The values by the option that sets them."""
        return {"--filter": self.filter, "--offset": self.offset, "--group-by": self.group_by}

    def refuse(self, reason: str) -> None:
        """Raise UsageError where a value is set."""
        if names := [name for name, value in self.by_option.items() if value]:
            raise click.UsageError(
                f"{reason}, which has no filters and pages; leave {names[0]} out"
            )

    @property
    def needs_fields(self) -> bool:
        """Whether the documents must have fields."""
        return self.filter is not None or self.group_by is not None

    def arguments(self) -> dict[str, Any]:
        """The arguments of a search."""
        return self._asdict()

    def table(self, folder: Path, store: EmbeddingStore) -> FieldTable | None:
        """The fields for exact search of a run's documents; None where none are needed."""
        from colmodern.pipeline.open.fields import fields_of_run

        if not self.needs_fields:
            return None
        ids = store.doc_ids
        if store.has_passages:  # passages have the fields of their documents
            ids = [document_and_number(passage)[0] for passage in ids]
        return fields_of_run(folder, ids)

    def for_index(self, index: Any, folder: Path, store: EmbeddingStore) -> PageOptions:
        """The same for an index, with ids as the filter where the index itself has no fields."""
        if self.filter is None or index.info().get("fields"):
            return self
        from colmodern.pipeline.open.fields import DocumentFields, fields_of_run
        from colmodern.pipeline.passages import doc_ids_of

        doc_ids = doc_ids_of(store)
        fields = DocumentFields(doc_ids, fields_of_run(folder, doc_ids))
        ids: Any = fields.ids(self.filter, "--filter")
        return self._replace(filter=ids)


def page_options(function: Callable[..., object]) -> Callable[..., object]:
    """Add --filter, --offset and --group-by, passed on as ``page``."""

    @wraps(function)
    def command(conditions: str | None, offset: int, group_by: str | None, **values: Any) -> object:
        page = PageOptions(_parsed(conditions), offset, group_by)
        return function(page=page, **values)

    options = [
        click.option(
            "--filter",
            "conditions",
            metavar="JSON",
            help="Conditions on fields of documents, for example "
            '\'{"year": {"gte": 2020}, "lang": "en"}\'.',
        ),
        click.option(
            "--offset",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Results to leave out before the first, for the next page.",
        ),
        click.option(
            "--group-by",
            metavar="FIELD",
            help="Show each value of a field once, with its best document.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _parsed(conditions: str | None) -> dict[str, object] | None:
    if conditions is None:
        return None
    from colmodern.index.fields.conditions import parse_filter

    try:
        filter = json.loads(conditions, object_pairs_hook=_without_repeats)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"--filter={conditions!r} is not JSON ({error}); quote it for the shell, as "
            '\'{"year": {"gte": 2020}}\''
        ) from error
    parse_filter(filter, "--filter")
    parsed: dict[str, object] = filter
    return parsed


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON, whose last value of a key would take the place of others."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in entries if names.count(name) > 1)
        raise InputError(
            f"--filter has the key {shown(repeated)} twice in one mapping; join its conditions, as "
            '{"year": {"gte": 2020, "lt": 2025}}, or use "and"'
        )
    return entries
