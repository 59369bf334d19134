"""Calls of a checkpoint's tokenizer, whose faults become errors of the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Ids = npt.NDArray[np.int32]


def read_texts(
    tokenizer: PreTrainedTokenizerBase, texts: str | list[str], **options: bool
) -> BatchEncoding:
    """Call the tokenizer.

    Raises:
        CheckpointError: The tokenizer cannot read a text.
    """
    with library_errors():
        return tokenizer(texts, **options)


@contextmanager
def library_errors() -> Iterator[None]:
    """Raise CheckpointError for whatever a damaged tokenizer of transformers raises."""
    try:
        yield
    except BaseException as error:  # the library raises plain Exception, and panics
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(
            f"the checkpoint's tokenizer cannot read a text ({shown(str(error))}); correct its "
            "tokenizer.json, or use another checkpoint"
        ) from error


def as_ids(ids: Sequence[int | None]) -> Ids:
    """Token ids as an array.

    Raises:
        CheckpointError: An id is larger than a backbone's table can be.
    """
    try:
        return np.array(ids, dtype=np.int32)
    except OverflowError as error:
        raise CheckpointError(
            f"the checkpoint's tokenizer gives a token id that is too large ({error}); correct its "
            "tokenizer.json, or use another checkpoint"
        ) from error


def id_of_token(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """Vocabulary id of a token, None when it is not in the vocabulary (never the id of UNK)."""
    with library_errors():
        id_ = tokenizer.convert_tokens_to_ids(token)
        is_unknown = id_ == tokenizer.unk_token_id and token != tokenizer.unk_token
    return None if id_ is None or is_unknown else int(id_)


def trailing_specials(tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of special tokens that the tokenizer puts after a text."""
    bare = read_texts(tokenizer, "a", add_special_tokens=False)["input_ids"]
    full = read_texts(tokenizer, "a", add_special_tokens=True)["input_ids"]
    starts = (i for i in range(len(full) + 1) if full[i : i + len(bare)] == bare)
    if (leading := next(starts, None)) is not None:
        return len(full) - len(bare) - leading
    # the special tokens changed how the text itself is cut
    mask = read_texts(tokenizer, "a", add_special_tokens=True, return_special_tokens_mask=True)
    return sum(1 for _ in takewhile(bool, reversed(mask["special_tokens_mask"])))
