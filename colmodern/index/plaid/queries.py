"""What a search is asked, checked at the border."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.inputs import query_rows

Floats = npt.NDArray[np.float32]


def checked_query(query: Any, dim: int) -> Floats:
    """The query as float32 rows, one of zeros for none: MaxSim of no token is 0 for all.

    Raises InputError as ``query_rows`` does.
    """
    rows = query_rows(query, dim)
    return rows if len(rows) else np.zeros((1, dim), np.float32)


def expect_encoder(given: str | None, mine: str | None) -> None:
    """Raise InputError when both fingerprints are known and differ."""
    if given is not None and not isinstance(given, str):
        raise InputError(f"fingerprint={shown(given)}; pass Encoder.fingerprint's text, or None")
    if given is not None and mine is not None and given != mine:
        raise InputError(
            f"fingerprint={given[:12]} is not the index's {mine[:12]}: it was built with "
            "another encoder or other encoder settings; encode with the same, or build again"
        )


def unusable_score(name: str, doc_id: str) -> str:
    """The message about a document whose score is no finite number; name: of its embeddings."""
    return (
        f"{name} has embeddings of document {doc_id!r} that are not finite or too large to be "
        "scored; encode it again"
    )
