from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch

from colmodern import Encoder
from colmodern.errors import ConfigError, InputError, ResourceError
from colmodern.progress import Silent

TEXTS = checkpoints.DOCUMENTS


def test_rows_are_unit_and_carry_their_token_ids(pylate_bert: Path) -> None:
    encoder = Encoder.from_pretrained(pylate_bert)
    embeddings = encoder.encode_documents(TEXTS)
    assert embeddings.values.dtype == np.float32
    assert embeddings.values.shape == (embeddings.n_tokens, checkpoints.DIM)
    np.testing.assert_allclose(np.linalg.norm(embeddings.values, axis=1), 1, atol=1e-5)
    tokenized = encoder.tokenize(TEXTS, "document")
    kept = [ids[scored] for ids, scored in zip(tokenized.ids, tokenized.scored, strict=True)]
    assert np.array_equal(embeddings.token_ids, np.concatenate(kept))


def test_packed_is_refused_where_it_does_not_fit(bert: Path) -> None:
    with pytest.raises(ConfigError, match="attention='packed' is for ModernBERT"):
        Encoder.from_pretrained(bert, attention="packed")


@pytest.mark.parametrize("attention", ["packed", "sdpa"])
def test_max_memory_below_one_text_is_refused(modernbert: Path, attention: str) -> None:
    with pytest.raises(ConfigError, match=r"max_memory=1000000 holds \d+ tokens, but a text may"):
        Encoder.from_pretrained(modernbert, max_memory="1M", attention=attention)


def test_max_memory_lowers_the_batch_and_changes_nothing_else(modernbert: Path) -> None:
    base = Encoder.from_pretrained(modernbert, document_length=40, query_length=40)
    tight = Encoder.from_pretrained(
        modernbert, document_length=40, query_length=40, max_memory="20M"
    )
    assert tight._max_tokens < base._max_tokens
    assert tight.fingerprint("document") == base.fingerprint("document")
    texts = TEXTS * 3
    np.testing.assert_allclose(
        tight.encode_documents(texts).values, base.encode_documents(texts).values, atol=2e-5
    )


@pytest.mark.parametrize("fixture", ["bert", "modernbert", "pylate_bert"])
def test_batching_does_not_change_embeddings(fixture: str, request) -> None:
    encoder = Encoder.from_pretrained(request.getfixturevalue(fixture))
    together = encoder.encode_documents(TEXTS)
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(together[i], encoder.encode_documents([text])[0], atol=2e-5)


def test_padding_never_scores(modernbert: Path) -> None:
    encoder = Encoder.from_pretrained(modernbert)
    lengths = encoder.encode_documents(["a", "a b c d e f g"]).lengths
    assert lengths.tolist() == [
        len(ids) for ids in encoder.tokenize(["a", "a b c d e f g"], "document").ids
    ]


def test_no_texts_give_no_embeddings(bert: Path) -> None:
    embeddings = Encoder.from_pretrained(bert).encode_documents([])
    assert (embeddings.n_docs, embeddings.values.shape) == (0, (0, checkpoints.HIDDEN))


def test_a_text_wholly_on_the_skiplist_has_no_rows(bert: Path) -> None:
    encoder = Encoder.from_pretrained(bert, skiplist=["[CLS]", "[SEP]", "."])
    assert encoder.encode_documents(["...", "a list"]).lengths.tolist() == [0, 2]


def test_a_new_projection_is_seeded(bert: Path) -> None:
    def rows(seed: int) -> np.ndarray:
        encoder = Encoder.from_pretrained(bert, projection_dim=16, seed=seed)
        assert encoder.dim == 16
        return encoder.encode_documents(TEXTS).values

    assert np.array_equal(rows(1), rows(1))
    assert not np.allclose(rows(1), rows(2))


def test_modernbert_takes_8192_tokens(modernbert: Path) -> None:
    encoder = Encoder.from_pretrained(modernbert)
    assert encoder.settings.document_length == 8192
    tokenized = encoder.tokenize(["ab " * 4000], "document")
    assert tokenized.lengths.tolist() == [8192]
    assert tokenized.cut.tolist() == [2 + 11_999 - 8192]


@pytest.mark.slow
def test_a_document_of_8192_tokens_is_encoded(modernbert: Path) -> None:
    embeddings = Encoder.from_pretrained(modernbert).encode_documents(["ab " * 4000])
    assert embeddings.lengths.tolist() == [8192]
    assert np.isfinite(embeddings.values).all()


def test_bfloat16_stays_close_to_float32(modernbert: Path) -> None:
    single = Encoder.from_pretrained(modernbert).encode_documents(TEXTS)
    half = Encoder.from_pretrained(modernbert, dtype="bfloat16").encode_documents(TEXTS)
    assert half.values.dtype == np.float32
    assert (single.values * half.values).sum(axis=1).min() > 0.98


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError(),
    ],
)
def test_out_of_memory_halves_the_batches_and_goes_on(
    bert: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, caplog
) -> None:
    encoder = Encoder.from_pretrained(bert)
    expected = encoder.encode_documents(TEXTS * 4)
    forward, sizes = encoder._forward, []

    def forgetful(tokenized, batch):
        cells = len(batch) * max(len(tokenized.ids[i]) for i in batch)
        sizes.append(cells)
        if cells > 150:
            raise failure
        return forward(tokenized, batch)

    monkeypatch.setattr(encoder, "_forward", forgetful)
    embeddings = encoder.encode_documents(TEXTS * 4)
    np.testing.assert_allclose(embeddings.values, expected.values, atol=2e-5)
    assert np.array_equal(embeddings.offsets, expected.offsets)
    assert max(sizes) > 150 >= sizes[-1]
    assert "out of memory" in caplog.text


def test_a_text_that_never_fits_is_named(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder.from_pretrained(bert)

    def full(tokenized, batch):
        raise MemoryError

    monkeypatch.setattr(encoder, "_forward", full)
    with pytest.raises(ResourceError, match=r"a text of \d+ tokens does not fit"):
        encoder.encode_documents(TEXTS)


def test_other_errors_of_the_model_are_not_swallowed(bert: Path, monkeypatch) -> None:
    encoder = Encoder.from_pretrained(bert)

    def broken(tokenized, batch):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(encoder, "_forward", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        encoder.encode_documents(TEXTS)


def test_bad_texts_are_refused(bert: Path) -> None:
    encoder = Encoder.from_pretrained(bert)
    with pytest.raises(InputError, match="is one string"):
        encoder.encode_documents("one text")
    with pytest.raises(InputError, match="query 1 has no text"):
        encoder.encode_queries(["sort", "  "])
    with pytest.raises(InputError, match=r"texts\[0\] is a NoneType"):
        encoder.encode_documents([None])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"document_length": 65}, "document_length=65 is more than the 64 tokens"),
        ({"query_length": 3}, "query_length=3 leaves no room"),
        ({"document_lenght": 9}, "unknown encoder setting 'document_lenght'"),
        ({"dtype": "int8"}, "dtype='int8' is not one of"),
        ({"device": "cuda:0"}, "torch sees no GPU"),
        ({"device": "toaster"}, "device='toaster' is not supported"),
        ({"projection_dim": 0}, "projection_dim=0"),
        ({"overflow": "wrap"}, "overflow='wrap' is not one of truncate, split"),
        ({"overflow": "split", "overlap": 64}, "overlap=64, but a window"),
        ({"pool_factor": 0}, "pool_factor=0; give at least 1"),
        ({"pool_factor": 0.9}, "pool_factor=0.9; give at least 1"),
        ({"pool_factor": float("nan")}, "pool_factor=nan; give at least 1"),
        ({"pool_factor": "2"}, "pool_factor='2' is not of type int or float"),
        ({"protected_tokens": -1}, "protected_tokens=-1; give at least 0"),
        ({"query_expansion": True, "expansion_length": 600}, "expansion_length=600 is more"),
        ({"query_expansion": True, "expansion_token": "none such"}, "expansion_token='none such'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(bert: Path, options: dict, message: str) -> None:
    if options.get("device") == "cuda:0" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match=message):
        Encoder.from_pretrained(bert, **options)


def test_a_checkpoints_own_length_is_lowered_to_its_backbone(tmp_path: Path, caplog) -> None:
    folder = checkpoints.pylate(tmp_path, "bert", document_length=180)
    encoder = Encoder.from_pretrained(folder)
    assert encoder.settings.document_length == 64
    assert "document_length=180 is lowered to its backbone's 64" in caplog.text
    assert encoder.encode_documents(["a list " * 100]).lengths.tolist() == [64]


def test_a_projection_for_a_checkpoint_that_has_one_is_refused(pylate_bert: Path) -> None:
    with pytest.raises(ConfigError, match="is a pylate checkpoint with its own projection"):
        Encoder.from_pretrained(pylate_bert, projection_dim=16)


def test_a_callers_autocast_changes_nothing(modernbert: Path) -> None:
    encoder = Encoder.from_pretrained(modernbert)
    expected = encoder.encode_documents(TEXTS).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder.encode_documents(TEXTS).values
    np.testing.assert_array_equal(found, expected)


def test_texts_may_come_as_any_iterable(bert: Path) -> None:
    encoder = Encoder.from_pretrained(bert)
    expected = encoder.encode_documents(["a list", "a file"]).values
    for texts in (np.array(["a list", "a file"]), (t for t in ["a list", "a file"])):
        np.testing.assert_array_equal(encoder.encode_documents(texts).values, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skiplist": "the"}, "skiplist='the' is not of type tuple"),
        ({"skiplist": [1]}, "give a list of words"),
        ({"query_expansion": "false"}, "query_expansion='false' is not of type bool"),
        ({"query_length": "16"}, "query_length='16' is not of type int"),
        ({"query_length": True}, "query_length=True is not of type int"),
        ({"device": 0}, "device=0; give auto"),
        ({"attention": "flash_attention_2"}, "attention='flash_attention_2' is not one of"),
    ],
)
def test_values_of_the_wrong_type_are_refused(bert: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Encoder.from_pretrained(bert, **options)


def test_a_split_document_is_scored_with_all_its_tokens_and_a_short_one_as_before(
    pylate_bert: Path,
) -> None:
    cut = Encoder.from_pretrained(pylate_bert)
    split = Encoder.from_pretrained(pylate_bert, overflow="split", overlap=4)
    whole = Encoder.from_pretrained(pylate_bert, document_length=64)
    before, found, longest = (encoder.encode_documents(TEXTS) for encoder in (cut, split, whole))
    is_long = cut.tokenize(TEXTS, "document").cut > 0
    assert is_long.any()
    assert not is_long.all()
    assert split.tokenize(TEXTS, "document").cut.tolist() == [0] * len(TEXTS)
    # the same tokens as without a limit, though other neighbours make other embeddings
    assert np.array_equal(found.offsets, longest.offsets)
    assert np.array_equal(found.token_ids, longest.token_ids)
    for i in np.flatnonzero(~is_long):
        np.testing.assert_allclose(found[i], before[i], atol=2e-5)


def test_rows_of_a_split_document_are_those_of_its_windows(bert: Path) -> None:
    encoder = Encoder.from_pretrained(bert, document_length=10, overflow="split", overlap=2)
    text = "open the file and write the value of the vector to the index and close it"
    windows = encoder.tokenize([text], "document")
    assert len(windows.ids) > 2
    rows = []
    for ids, scored in zip(windows.ids, windows.scored, strict=True):
        words = encoder.tokenizer._tokenizer.decode(ids[1:-1])
        alone = encoder.encode_documents([words])
        assert alone.token_ids.tolist() == ids.tolist()
        rows.append(alone.values[scored])
    found = encoder.encode_documents([text])
    assert found.n_docs == 1
    np.testing.assert_allclose(found.values, np.concatenate(rows), atol=2e-5)


def test_progress_counts_texts_not_windows(bert: Path) -> None:
    class Count(Silent):
        n = 0

        def advance(self, n: int) -> None:
            self.n += n

    count = Count()
    encoder = Encoder.from_pretrained(bert, document_length=8, overflow="split")
    encoder.encode_documents(TEXTS, progress=count)
    assert count.n == len(TEXTS)


def test_queries_that_are_cut_are_counted_in_one_warning(pylate_bert: Path, caplog) -> None:
    encoder = Encoder.from_pretrained(pylate_bert, query_length=12)
    encoder.encode_queries(["sort a list"])
    assert not caplog.messages
    queries = ["sort", "a " * 20, "the list " * 10]
    assert encoder.tokenize(queries, "query").facts()["n_truncated"] == 2
    for _ in range(3):
        encoder.encode_queries(queries)
    [message] = caplog.messages
    assert message == (
        "2 of 3 queries are longer than query_length=12 and were cut, by 22 tokens; raise query_length"
    )
    encoder.with_settings(query_length=13).encode_queries(queries)
    assert len(caplog.messages) == 2
