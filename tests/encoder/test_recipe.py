from __future__ import annotations

from pathlib import Path

import checkpoints
import pytest

from colmodern import Encoder
from colmodern.encoder.model.precision import is_bfloat16_fast


@pytest.mark.parametrize(
    ("model", "asked", "resolved"),
    [
        ("modernbert", "auto", "packed"),
        ("modernbert", "sdpa", "sdpa"),
        ("bert", "auto", "sdpa"),
        ("bert", "eager", "eager"),
    ],
)
def test_attention_is_recorded_as_what_ran(model: str, asked: str, resolved: str, request) -> None:
    folder = request.getfixturevalue(model)
    encoder = Encoder.from_pretrained(folder, attention=asked)
    assert encoder.describe()["attention"] == resolved
    same = Encoder.from_pretrained(folder, attention=resolved)
    assert encoder.fingerprint("document") == same.fingerprint("document")
    if asked != resolved:
        other = Encoder.from_pretrained(folder, attention="eager")
        assert encoder.fingerprint("document") != other.fingerprint("document")


def test_dtype_auto_is_recorded_as_what_ran(bert: Path) -> None:
    encoder = Encoder.from_pretrained(bert, dtype="auto", device="cpu")
    resolved = "bfloat16" if is_bfloat16_fast("cpu") else "float32"
    assert encoder.describe()["dtype"] == resolved
    same = Encoder.from_pretrained(bert, dtype=resolved)
    assert encoder.fingerprint("query") == same.fingerprint("query")


def test_settings_override_the_checkpoint_and_are_reported(pylate_bert: Path) -> None:
    encoder = Encoder.from_pretrained(
        pylate_bert, query_length=10, query_expansion=False, skiplist=[], query_marker=""
    )
    described = encoder.describe()["settings"]
    assert (described["query_length"], described["query_expansion"]) == (10, False)
    assert (described["skiplist"], described["query_marker"]) == ([], "")
    assert described["document_length"] == checkpoints.DOCUMENT_LENGTH
    assert encoder.encode_queries(["sort"]).lengths.tolist() == [3]


def test_fingerprints_follow_what_changes_embeddings(pylate_bert: Path, bert: Path) -> None:
    base = Encoder.from_pretrained(pylate_bert)
    shorter = Encoder.from_pretrained(pylate_bert, document_length=12)
    assert shorter.fingerprint("document") != base.fingerprint("document")
    assert shorter.fingerprint("query") == base.fingerprint("query")
    assert Encoder.from_pretrained(bert).fingerprint("query") != base.fingerprint("query")
    half = Encoder.from_pretrained(pylate_bert, dtype="bfloat16")
    assert half.fingerprint("query") != base.fingerprint("query")
    changed = base.with_settings(document_length=12)  # also after base has computed its own
    assert changed.fingerprint("document") == shorter.fingerprint("document")


def test_what_happens_to_documents_is_in_their_fingerprint_when_it_is_not_the_default(
    pylate_bert: Path,
) -> None:
    base = Encoder.from_pretrained(pylate_bert)
    same = Encoder.from_pretrained(pylate_bert, overlap=3, protected_tokens=2)
    assert same.fingerprint("document") == base.fingerprint("document")
    for options in ({"overflow": "split"}, {"pool_factor": 2}):
        other = Encoder.from_pretrained(pylate_bert, **options)
        assert other.fingerprint("document") != base.fingerprint("document")
        assert other.fingerprint("query") == base.fingerprint("query")
