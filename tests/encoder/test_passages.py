"""Passages of long documents against the joined windows that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from colmodern import Encoder, encode_passages
from colmodern.errors import ConfigError, InputError
from colmodern.progress import Silent

TEXTS = [
    "",
    "wing lift",
    "open the file and read the value, then close the file. " * 5,
    "heat " * 40,
]
IDS = ["empty", "short", "file#1", "heat"]


@pytest.fixture(scope="module")
def split(pylate_bert: Path) -> Encoder:
    return Encoder.from_pretrained(pylate_bert, document_length=16, overflow="split", overlap=4)


def test_each_token_of_a_text_is_in_one_passage_with_the_vector_of_its_window(
    split: Encoder,
) -> None:
    joined = split.encode_documents(TEXTS)
    passages, ids = encode_passages(split, TEXTS, IDS)
    assert [id_.rpartition("#")[0] for id_ in ids] == sorted(
        (id_.rpartition("#")[0] for id_ in ids), key=IDS.index
    )
    assert passages.n_docs == len(ids) > len(TEXTS)
    assert passages.fingerprint == joined.fingerprint
    n_head, n_tail = 2, 1  # [CLS], marker; [SEP]
    for number, doc_id in enumerate(IDS):
        rows = [row for row, id_ in enumerate(ids) if id_.rpartition("#")[0] == doc_id]
        assert [ids[row] for row in rows] == [f"{doc_id}#{i}" for i in range(len(rows))]
        bodies = []
        for place, row in enumerate(rows):
            first, last = place == 0, place == len(rows) - 1
            values = passages[row]
            bodies.append(values[0 if first else n_head : len(values) - (0 if last else n_tail)])
        assert np.array_equal(np.concatenate(bodies), joined[number])


def test_a_passage_begins_and_ends_with_special_tokens(split: Encoder) -> None:
    passages, _ = encode_passages(split, TEXTS, IDS)
    texts = [passages[row : row + 1] for row in range(passages.n_docs)]
    first = {tuple(text.token_ids[:2].tolist()) for text in texts}
    last = {int(text.token_ids[-1]) for text in texts}
    assert len(first) == len(last) == 1


def test_characters_are_those_of_the_whole_text(split: Encoder) -> None:
    passages, ids = encode_passages(split, TEXTS, IDS, spans=True)
    rows = [row for row, id_ in enumerate(ids) if id_.startswith("file#1#")]
    bounds = np.concatenate([passages.spans[row] for row in rows])
    covering = bounds[bounds[:, 0] < bounds[:, 1]]
    assert np.all(np.diff(covering[:, 0]) > 0)  # passages follow each other and share nothing
    words = "".join(TEXTS[2][start:end] for start, end in covering)
    assert words == "".join(c for c in TEXTS[2] if c.isalpha())  # punctuation is on the skiplist


def test_pooled_passages_keep_their_ids(split: Encoder) -> None:
    pooled = split.with_settings(**{**split.settings.as_overrides(), "pool_factor": 2})
    few, ids = encode_passages(pooled, TEXTS, IDS)
    many, same = encode_passages(split, TEXTS, IDS)
    assert ids == same
    assert few.n_docs == many.n_docs
    assert few.n_tokens < many.n_tokens


def test_progress_counts_texts(split: Encoder) -> None:
    class Count(Silent):
        n = 0

        def advance(self, n: int) -> None:
            self.n += n

    count = Count()
    encode_passages(split, TEXTS, IDS, progress=count)
    assert count.n == len(TEXTS)


def test_no_texts_have_no_passages(split: Encoder) -> None:
    passages, ids = encode_passages(split, [], [])
    assert (passages.n_docs, ids) == (0, [])


def test_what_cannot_be_encoded_is_refused(split: Encoder, pylate_bert: Path) -> None:
    cut = Encoder.from_pretrained(pylate_bert)
    with pytest.raises(
        ConfigError, match=r"overflow='truncate' cuts long documents.*set overflow to split"
    ):
        encode_passages(cut, TEXTS, IDS)
    with pytest.raises(InputError, match="doc_ids"):
        encode_passages(split, TEXTS, IDS[:2])
    with pytest.raises(InputError, match="doc_ids"):
        encode_passages(split, TEXTS, ["a"] * 4)
    with pytest.raises(InputError, match="spans"):
        encode_passages(split, TEXTS, IDS, spans="yes")
