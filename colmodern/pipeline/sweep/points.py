"""From a grid to what has to be encoded, built and searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colmodern.config.index import IndexConfig
from colmodern.config.sweep import Combination, Cut, SweepConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError


@dataclass(frozen=True)
class Variant:
    """One state of the document embeddings.

    Attributes:
        encoded_length: document_length of the encoding that it is made from.
        kept_length: Tokens that are kept of each of its documents, None for all.
        pool_factor: Tokens for each row that is kept.
    """

    encoded_length: int
    kept_length: int | None
    pool_factor: float

    @property
    def cut(self) -> Cut:
        """Whether documents were encoded at their length or cut afterwards."""
        is_stored = self.kept_length is not None and self.kept_length != self.encoded_length
        return "stored" if is_stored else "encode"


@dataclass(frozen=True)
class Point:
    """One place of a grid; settings: by axis, as the table names them."""

    variant: Variant
    settings: Mapping[str, Any]
    index: IndexConfig


def find_points(config: SweepConfig, encoder: Encoder) -> list[Point]:
    """Every different point of a sweep, in the order in which little has to be kept.

    Args:
        config: The sweep.
        encoder: The encoder with the evaluation's own settings.

    Raises:
        ConfigError: The encoder makes points impossible; the message lists each.
    """
    points: dict[tuple[Variant, str], Point] = {}
    faults: dict[str, None] = {}
    for combination in config.combinations():
        try:
            variant = _variant(combination, config, encoder)
        except ConfigError as error:
            faults[str(error)] = None
            continue
        settings = {
            **combination.settings,
            "document_length": variant.kept_length,
            "pool_factor": variant.pool_factor,
            "cut": variant.cut,
        }
        # two ways of cutting are the same where nothing is cut
        points.setdefault(
            (variant, repr(settings)), Point(variant, settings, combination.config.index)
        )
    if faults:
        raise ConfigError("\n".join(f"{config.name}: {fault}" for fault in faults))
    return list(points.values())


def _variant(combination: Combination, config: SweepConfig, encoder: Encoder) -> Variant:
    own, length_setting = encoder.settings, combination.settings["document_length"]
    wanted = None if config.sweep.document_length is None else length_setting
    factor = combination.settings["pool_factor"] or own.pool_factor
    if own.overflow == "split":
        if wanted is not None and combination.cut == "encode":
            raise ConfigError(
                f"sweep.document_length: with encoder.overflow=split, {wanted} would be the length of "
                "windows and no document would be cut; set sweep.cut to stored, which cuts the "
                "embeddings of all windows, or overflow to truncate"
            )
        rank = combination.config.search.passages
        if wanted is not None and rank is not None:
            raise ConfigError(
                f"sweep.document_length: with search.passages={rank}, the embeddings are of passages, which "
                "have no longer document to cut; leave sweep.document_length out, or run an evaluation "
                "for each encoder.document_length"
            )
        return Variant(own.document_length, wanted, factor)
    length = wanted or own.document_length
    if combination.cut == "encode":
        # says what is wrong with a length that the backbone does not take
        encoder.with_settings(**{**own.as_overrides(), "document_length": length})
        return Variant(length, length, factor)
    if length > own.document_length:
        raise ConfigError(
            f"sweep.document_length: {length} tokens cannot be cut from an encoding of "
            f"encoder.document_length={own.document_length}; raise that, or set sweep.cut to encode"
        )
    return Variant(own.document_length, length, factor)
