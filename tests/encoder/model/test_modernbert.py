"""The forward of our own against transformers' eager one, in float32, text by text."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from encoder.model.modernberts import MIXED, draw, least_cosine, make_stock, stock_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from colmodern import Encoder
from colmodern.encoder.model.linear import OneDnnLinear, TorchLinear
from colmodern.encoder.model.modernbert import Layer, PackedModernBert, StoredLayer, chunk_sizes
from colmodern.errors import ConfigError

COSINE = {torch.float32: 0.9999, torch.bfloat16: 0.999}


@pytest.fixture(scope="module")
def stock() -> Any:
    return make_stock()


def pack_model(
    model: Any, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> PackedModernBert:
    weights = model.state_dict()
    return PackedModernBert(model.config, weights, device=torch.device(device), dtype=dtype)


@torch.inference_mode()
def packed_rows(
    model: Any,
    ids: list[np.ndarray],
    attended: np.ndarray,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> torch.Tensor:
    packed = pack_model(model, dtype, device)
    return packed(ids, attended).float().cpu()


@pytest.mark.parametrize("dtype", list(COSINE))
@pytest.mark.parametrize("lengths", [[1], [127], [128], [129], [512], MIXED], ids=str)
def test_every_token_is_that_of_the_eager_float32_forward(stock, lengths, dtype) -> None:
    ids, attended = draw(lengths), np.array(lengths)
    found = packed_rows(stock, ids, attended, dtype)
    assert least_cosine(found, stock_rows(stock, ids, attended)) >= COSINE[dtype]


@pytest.mark.parametrize("is_fast", [True, False], ids=["native", "widened"])
def test_bfloat16_is_as_true_where_products_are_widened(
    stock, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.encoder.model.modernbert.is_bfloat16_fast", lambda _: is_fast)
    ids, attended = draw(MIXED), np.maximum(1, np.array(MIXED) - 20)
    packed = pack_model(stock, torch.bfloat16)
    assert isinstance(packed._layers[0], Layer if is_fast else StoredLayer)
    with torch.inference_mode():
        found = packed(ids, attended)
    assert least_cosine(found, stock_rows(stock, ids, attended)) >= COSINE[torch.bfloat16]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", list(COSINE))
def test_every_token_of_8192_is_that_of_the_eager_float32_forward(stock, dtype) -> None:
    ids, attended = draw([8192, 300]), np.array([8192, 300])
    found = packed_rows(stock, ids, attended, dtype)
    assert least_cosine(found, stock_rows(stock, ids, attended)) >= COSINE[dtype]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [*COSINE, torch.float16])
@pytest.mark.parametrize("n_unattended", [0, 20])
def test_every_token_on_cuda_is_that_of_the_eager_float32_forward(
    stock, dtype, n_unattended: int
) -> None:
    ids, attended = draw(MIXED), np.maximum(1, np.array(MIXED) - n_unattended)
    found = packed_rows(stock, ids, attended, dtype, "cuda")
    expected = stock_rows(stock, ids, attended)
    assert least_cosine(found, expected) >= COSINE.get(dtype, 0.999)


@pytest.mark.parametrize("dtype", list(COSINE))
def test_tokens_that_are_not_attended_to_still_attend(stock, dtype) -> None:
    ids, attended = draw(MIXED), np.maximum(1, np.array(MIXED) - 20)
    found = packed_rows(stock, ids, attended, dtype)
    expected = stock_rows(stock, ids, attended)
    assert least_cosine(found, expected) >= COSINE[dtype]
    all_attended = stock_rows(stock, ids, np.array(MIXED))
    assert least_cosine(all_attended, expected) < COSINE[dtype]


def test_these_cosines_see_a_window_that_is_one_token_short(stock) -> None:
    short = copy.deepcopy(stock)
    short.config.local_attention = 126
    ids, attended = draw([512]), np.array([512])
    found = packed_rows(short, ids, attended)
    assert least_cosine(found, stock_rows(stock, ids, attended)) < COSINE[torch.bfloat16]


@settings(max_examples=5)
@given(lengths=st.lists(st.integers(0, 150), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_a_text_is_embedded_alike_in_any_company(stock, lengths: list[int], seed: int) -> None:
    packed, ids = pack_model(stock), draw(lengths)
    order = np.random.default_rng(seed).permutation(len(ids))
    with torch.inference_mode():
        together = packed([ids[i] for i in order], np.array(lengths)[order])
        alone = [packed([ids[i]], np.array([lengths[i]])) for i in order]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=0)


def test_without_onednn_the_rows_are_the_same(stock, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, attended = draw(MIXED), np.array(MIXED)
    kinds = []
    for has_it in (True, False):
        monkeypatch.setattr("colmodern.encoder.model.linear.has_onednn", lambda _, has=has_it: has)
        packed = pack_model(stock)
        kinds.append(type(packed._layers[0].qkv))
        with torch.inference_mode():
            found = packed(ids, attended)
        assert least_cosine(found, stock_rows(stock, ids, attended)) >= COSINE[torch.float32]
    assert kinds == [OneDnnLinear, TorchLinear]


def encode(folder: Path, attention: str, **options: Any) -> list[np.ndarray]:
    encoder = Encoder.from_pretrained(folder, attention=attention, device="cpu", **options)
    return list(encoder.encode_queries(checkpoints.QUERIES))


@pytest.mark.parametrize("attends", [True, False])
@pytest.mark.parametrize("backbone", ["bert", "modernbert"])
def test_query_expansion_is_the_same_whatever_attention_runs(
    backbone: str, attends: bool, tmp_path: Path
) -> None:
    folder = checkpoints.pylate(tmp_path, backbone, attend_to_expansion_tokens=attends)
    eager = encode(folder, "eager")
    for attention in ("sdpa", "auto"):
        for found, expected in zip(encode(folder, attention), eager, strict=True):
            assert len(found) == checkpoints.QUERY_LENGTH
            np.testing.assert_allclose(found, expected, atol=2e-5)
    other = encode(folder, "auto", attend_to_expansion=not attends)
    assert not np.allclose(np.concatenate(other), np.concatenate(eager), atol=1e-2)


def test_expansion_past_the_window_is_defined_when_packed_and_refused_elsewhere(
    tmp_path: Path,
) -> None:
    folder = checkpoints.pylate(tmp_path, "modernbert", query_length=40)  # 16 tokens either way
    for attention in ("sdpa", "eager"):
        with pytest.raises(ConfigError, match="beyond 16, half this model's window"):
            encode(folder, attention)
        encode(folder, attention, attend_to_expansion=True)
    encoder = Encoder.from_pretrained(folder)
    together = encoder.encode_queries(checkpoints.QUERIES)
    for found, query in zip(together, checkpoints.QUERIES, strict=True):
        alone = encoder.encode_queries([query])[0]
        np.testing.assert_allclose(found, alone, atol=2e-5)
    # tokens that the window reaches are those of a shorter expansion
    near = encode(folder, "eager", query_length=20)
    np.testing.assert_allclose(together[2][:19], near[2][:19], atol=2e-5)


@given(n_rows=st.integers(1, 3000))
def test_chunks_hold_all_rows_in_few_sizes(n_rows: int) -> None:
    sizes = chunk_sizes(n_rows, "cpu")
    assert n_rows <= sum(sizes) < n_rows + 16
    assert set(sizes) <= {16, 32, 64, 128, 256, 512}
