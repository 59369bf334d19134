"""One search of several shards: what each is asked, and what their answers amount to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from colmodern.errors import InputError, UnavailableError
from colmodern.index.base import Index
from colmodern.index.fields.conditions import expect_fields, fitted, parse_filter
from colmodern.index.pages import Page
from colmodern.index.sharded.fan_out import Answer, FanOut
from colmodern.index.sharded.filters import lacks_all, unknown_ids_error
from colmodern.index.sharded.known import joined_schema, schemas_of
from colmodern.index.sharded.options import expect_taken, takes
from colmodern.partial import ShardsReport
from colmodern.ragged.embeddings import TokenEmbeddings


@dataclass(frozen=True)
class ShardRequest:
    """A search, checked, for one query or many.

    Attributes:
        shards: All shards by their names.
        fan_out: Their threads.
        method: "search" or "search_batch".
        filters: The options of each shard that is asked that its part of the filter makes.
        timeout_s: Seconds that it may take.
        allow_partial: Whether answers of some shards will do.
        options: What the caller wants of all searches.
        reason: Why the shard of a name gave no answer, as the report says it.
    """

    shards: Mapping[str, Index]
    fan_out: FanOut
    method: str
    filters: Mapping[str, Mapping[str, Any]]
    timeout_s: float | None
    allow_partial: bool
    options: Mapping[str, object]
    reason: Callable[[str, Exception], str]

    def __call__(
        self, queries: object, page: Page, *, nothing: Answer
    ) -> tuple[dict[str, Answer], ShardsReport]:
        """The answers of the shards, and a report of which there are.

        Args:
            queries: What the method takes.
            page: What is wanted of each ranking.
            nothing: The answer of a shard without results.

        Raises:
            InputError: As a shard raises it.
            UnavailableError: A shard did not answer and partial answers will not do, or none did.
        """
        answers, errors = self._ask(queries, page, self.filters)
        if again := self._fitted_filters(errors):
            more, faults = self._ask(queries, page, again)
            answers |= more
            errors = {name: errors[name] for name in errors if name not in again} | faults
        for name, answer in answers.items():
            if not getattr(answer, "is_complete", True):
                errors[name] = UnavailableError("shards of its own did not answer")
        lacking = [
            name
            for name, error in errors.items()
            if isinstance(error, InputError) and lacks_all(self.shards[name], self.filters[name])
        ]
        if lacking and len(lacking) == len(self.filters):
            raise unknown_ids_error(
                [doc_id for name in lacking for doc_id in self.filters[name]["filter"]]
            )
        for name in lacking:
            answers[name] = nothing
            del errors[name]
        for name, error in errors.items():
            if isinstance(error, InputError):
                raise InputError(f"shard {name}: {error}") from error
        missing = {name: self.reason(name, error) for name, error in errors.items()}
        report = ShardsReport(tuple(name for name in self.shards if name not in missing), missing)
        if missing and not (self.allow_partial and answers):
            raise self._unavailable(report) from next(iter(errors.values()))
        return answers, report

    def _ask(
        self, queries: object, page: Page, filters: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, Exception]]:
        """The answers of shards with their filters, and the errors of those that gave none."""
        calls: dict[str, Callable[[], Any]] = {
            name: partial(
                getattr(self.shards[name], self.method),
                queries,
                page.end,
                **self._taken(name, page, own),
            )
            for name, own in filters.items()
        }
        return self.fan_out(calls, self.timeout_s)

    def _fitted_filters(self, errors: Mapping[str, Exception]) -> dict[str, dict[str, Any]]:
        """Filters for shards whose documents lack a field that those of other shards have.

        Raises:
            InputError: No shard has the field.
        """
        refused = [name for name, error in errors.items() if isinstance(error, InputError)]
        conditions = next(iter(self.filters.values())).get("filter")
        if not refused or not isinstance(conditions, Mapping):
            return {}
        condition = parse_filter(conditions)
        schemas = schemas_of(self.shards, self.fan_out, self.timeout_s)
        if len(schemas) == len(self.shards):
            expect_fields(condition, joined_schema(schemas.values()))
        return {
            name: {"filter": fitted(condition, schemas[name])}
            for name in refused
            if name in schemas
        }

    def _taken(self, name: str, page: Page, own: Mapping[str, object]) -> dict[str, object]:
        """The options of one shard's search; own: those of its filter."""
        # not "in (None, False)", which 0 is as well: a shard has to refuse it
        wanted = {
            key: value
            for key, value in self.options.items()
            if value is not None and value is not False
        }
        if isinstance(wanted.get("rescore"), TokenEmbeddings):
            raise InputError(
                "rescore is TokenEmbeddings, which have no ids to find the documents of a shard by; pass "
                "an EmbeddingStore that has all documents"
            )
        if page.group_by is not None:
            wanted["group_by"] = page.group_by
        wanted |= own
        shard = self.shards[name]
        expect_taken(name, shard, self.method, wanted)
        if self.timeout_s is not None and takes(shard, self.method, "timeout_s"):
            wanted["timeout_s"] = self.timeout_s
        return wanted

    def _unavailable(self, report: ShardsReport) -> UnavailableError:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in report.missing.items())
        cure = "search again, or pass allow_partial=True for the results of the others"
        if self.allow_partial or not report.answered:
            cure = "search again when they do"
        return UnavailableError(
            f"{len(report.missing)} of {len(self.shards)} shards did not answer ({reasons}); {cure}"
        )
