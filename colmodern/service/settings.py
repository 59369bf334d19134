"""Every setting of the service, with its meaning and unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from colmodern.checks import shown
from colmodern.config.fields import HomePath, SettingsModel, Size
from colmodern.config.load import build, parse_overrides
from colmodern.config.models import EncoderConfig
from colmodern.config.read import merge, read_values

_INDEX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class LimitSettings(SettingsModel):
    """The largest requests that are answered; larger ones are refused with status 413 or 422."""

    body: Size = Field("8M", description="bytes of a request's body")
    documents: int = Field(1000, ge=1, description="documents of a request to rerank or change")
    queries: int = Field(32, ge=1, description="queries of a request to search")
    inputs: int = Field(1000, ge=1, description="texts of a request to encode")
    k: int = Field(1000, ge=1, description="results of a query")
    text_length: int = Field(200_000, ge=1, description="characters of a text")
    id_length: int = Field(1024, ge=1, description="characters of the id of a document to add")
    filter_values: int = Field(
        100_000, ge=1, description="values and ids in the filter of a request to search"
    )
    connections: int = Field(
        1024, ge=1, description="open connections; further ones are refused with status 503"
    )


class BatchingSettings(SettingsModel):
    """How texts of different requests are encoded together."""

    max_tokens: int = Field(16_384, ge=1, description="tokens that close a batch")
    max_requests: int = Field(64, ge=1, description="requests that close a batch")
    max_wait_ms: float = Field(
        3.0,
        ge=0,
        le=1000,
        allow_inf_nan=False,
        description="milliseconds after which a batch is closed; an idle encoder does not wait",
    )
    queue: int = Field(
        512,
        ge=1,
        description="requests that wait for the encoder, or for a search; further ones are refused "
        "with status 429",
    )


class TimeoutSettings(SettingsModel):
    """How long the service waits."""

    request_ms: int = Field(
        30_000,
        ge=1,
        le=86_400_000,
        description="milliseconds in which a request must be answered, where it has no timeout_ms; "
        "the longest timeout_ms too",
    )
    body_s: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="seconds in which a body must arrive"
    )
    keep_alive_s: int = Field(
        75, ge=1, description="seconds that a connection stays open between two requests"
    )
    drain_delay_s: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds after SIGTERM in which /ready has status 503 and requests are still "
        "accepted, so that a balancer notices",
    )
    drain_s: int = Field(
        30, ge=1, description="seconds that running requests may take to finish after that"
    )


class LogSettings(SettingsModel):
    """What is logged, as one JSON object a line on stderr."""

    access: bool = Field(
        True,
        description="log every request; those of /health, /ready and /metrics at level debug only",
    )
    slow_ms: float = Field(
        1000.0,
        ge=0,
        allow_inf_nan=False,
        description="requests that take more milliseconds are also logged as slow, with the sizes "
        "of what they asked for",
    )


class ServeSettings(SettingsModel):
    """A server: its model, the indexes that it serves, and its limits."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; any other than this machine's own needs api_key_file or "
        "insecure",
    )
    port: int = Field(8080, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    encoder: EncoderConfig | None = Field(
        None,
        description="the model, and changes to its settings; null: the model of the first "
        "collection that is served",
    )
    indexes: dict[str, HomePath] = Field(
        {}, description="folders of collections or indexes, each under the name that paths have"
    )
    api_key_file: HomePath | None = Field(
        None,
        description="file with a key on each line; a request then needs one of them, as "
        "Authorization: Bearer KEY",
    )
    insecure: bool = Field(False, description="listen on any address without a key")
    allowed_hosts: tuple[str, ...] | None = Field(
        None,
        description="names that the header Host may have; null: those of this machine where host is "
        "one and there is no key, else any",
    )
    read_only: bool = Field(False, description="refuse changes of indexes")
    search_threads: int | None = Field(
        None, ge=1, description="searches at a time; null: the number of CPUs"
    )
    refresh_s: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds between looks at whether another process changed an index",
    )
    limits: LimitSettings = LimitSettings()
    batching: BatchingSettings = BatchingSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    log: LogSettings = LogSettings()

    @field_validator("indexes")
    @classmethod
    def _names_fit_a_path(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _INDEX_NAME.fullmatch(name):
                raise ValueError(
                    f"{shown(name)} cannot name an index; use at most 100 letters, digits, '.', '_' "
                    "and '-'"
                )
        return value


def load_serve_settings(
    path: Path | str | None,
    overrides: Sequence[str] = (),
    values: dict[str, object] | None = None,
) -> ServeSettings:
    """Read a server's settings, and what their file extends.

    Args:
        path: YAML file; None for settings that are all in the other arguments.
        overrides: Settings to replace, as "limits.k=100"; values are YAML.
        values: Settings that replace those of the file, before ``overrides`` do.

    Returns:
        The settings.

    Raises:
        ConfigError: A setting is wrong; the message has all faults at once.
    """
    read = {} if path is None else read_values(Path(path))
    merged = parse_overrides(overrides, merge(read, values or {}))
    source = "command line" if path is None else str(path)
    return build(ServeSettings, merged, source=source, overrides=overrides)
