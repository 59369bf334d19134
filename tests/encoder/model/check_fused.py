"""The fused layers against transformers' eager forward in float32, and their memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from encoder.model.modernberts import MIXED, draw, least_cosine, make_stock, stock_rows
from encoder.model.stand_ins import by_texts

from colmodern import Encoder
from colmodern.encoder.model import fused, gpu_attention, modernbert, varlen
from colmodern.encoder.model.modernbert import PackedModernBert

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
COSINE = {torch.float32: 0.9999, torch.bfloat16: 0.999, torch.float16: 0.9999}
DTYPES = {"argvalues": list(COSINE), "ids": lambda dtype: str(dtype).removeprefix("torch.")}


@pytest.fixture(scope="module")
def stock() -> Any:
    return make_stock()


def fused_model(model: Any, dtype: torch.dtype) -> PackedModernBert:
    packed = PackedModernBert(model.config, model.state_dict(), device=DEVICE, dtype=dtype)
    assert packed._fused is not None
    return packed


@torch.inference_mode()
def fused_rows(
    model: Any, lengths: list[int], dtype: torch.dtype, n_unattended: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the fused layers, and those of the eager forward."""
    ids, attended = draw(lengths), np.maximum(1, np.array(lengths) - n_unattended)
    attended = np.minimum(attended, lengths)
    found = fused_model(model, dtype)(ids, attended)
    assert found.dtype == dtype
    return found.float().cpu(), stock_rows(model, ids, attended)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this machine compute in bfloat16, as GPUs do."""
    monkeypatch.setattr("colmodern.encoder.model.modernbert.is_bfloat16_fast", lambda _: True)


@pytest.mark.parametrize("dtype", **DTYPES)
@pytest.mark.parametrize("n_unattended", [0, 20])
@pytest.mark.parametrize("lengths", [[1], [129], MIXED], ids=str)
def test_every_token_is_that_of_the_eager_float32_forward(
    stock: Any, native: None, lengths: list[int], n_unattended: int, dtype: torch.dtype
) -> None:
    found, expected = fused_rows(stock, lengths, dtype, n_unattended)
    assert least_cosine(found, expected) >= COSINE[dtype]


def test_biases_are_added() -> None:
    biases = dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias"), True)
    found, expected = fused_rows(make_stock(**biases), [70, 9], torch.float32)
    assert least_cosine(found, expected) >= COSINE[torch.float32]


@pytest.mark.skipif(DEVICE.type == "cuda", reason="stands in for a GPU's attention")
@pytest.mark.parametrize("lengths", [[64, 64, 30, 7], [80, 64, 48, 33], [64, 64], [3, 5]], ids=str)
def test_parts_of_attention_join_to_the_same_rows(
    stock: Any, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_attention, "_LONG", 32)
    monkeypatch.setattr(gpu_attention, "_EVEN", 16)
    monkeypatch.setattr(gpu_attention, "takes", lambda packing, like: True)
    monkeypatch.setattr(varlen, "_varlen", lambda: by_texts)
    found, expected = fused_rows(stock, lengths, torch.float32)
    assert least_cosine(found, expected) >= COSINE[torch.float32]


def test_the_mlp_in_two_chunks_gives_the_same(stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_LEAST_ROWS", 128)
    assert len(list(fused.mlp_chunks(300))) == 2
    found, expected = fused_rows(stock, [200, 100], torch.float32)
    assert least_cosine(found, expected) >= COSINE[torch.float32]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_built_in_model_embeds_as_its_plain_layers_do_in_float32(
    dtype: str, native: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["parse a date string, read the number of the day", "", "heat and speed " * 90]

    def embed(dtype: str) -> torch.Tensor:
        encoder = Encoder.from_pretrained("colmodern/tiny", device=str(DEVICE), dtype=dtype)
        embedded = encoder.encode_documents(texts), encoder.encode_queries(texts[:1])
        return torch.from_numpy(np.concatenate([one.values for one in embedded]))

    fast = embed(dtype)
    monkeypatch.setattr(modernbert, "can_fuse", lambda *_: False)
    assert least_cosine(fast, embed("float32")) >= COSINE[getattr(torch, dtype)]


def test_bfloat16_loses_no_more_than_the_plain_layers_of_a_gpu(
    native: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embed(dtype: str) -> torch.Tensor:
        encoder = Encoder.from_pretrained("colmodern/tiny", device=str(DEVICE), dtype=dtype)
        return torch.from_numpy(encoder.encode_documents(["heat and speed, lift " * 60]).values)

    fast = embed("bfloat16")
    monkeypatch.setattr(modernbert, "can_fuse", lambda *_: False)
    # a GPU rounds between the product, its gelu and the gate; oneDNN does not
    monkeypatch.setattr("colmodern.encoder.model.linear.has_onednn", lambda _: False)
    plain, exact = embed("bfloat16"), embed("float32")
    assert 1 - least_cosine(fast, exact) <= 1.25 * (1 - least_cosine(plain, exact))
    assert least_cosine(fast, exact) >= COSINE[torch.bfloat16]


def test_a_machine_whose_kernels_do_not_compile_takes_torchs(
    stock: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("Failed to find C compiler\nand more")

    monkeypatch.setattr(fused, "add_norm", fail)
    fused._can_launch.cache_clear()
    ids, attended = draw([70, 9]), np.array([70, 9])
    packed = PackedModernBert(stock.config, stock.state_dict(), device=DEVICE, dtype=torch.float32)
    assert packed._fused is None
    assert caplog.text.count("Failed to find C compiler") == 1
    with torch.inference_mode():
        found = packed(ids, attended).cpu()
    assert least_cosine(found, stock_rows(stock, ids, attended)) >= COSINE[torch.float32]
    fused._can_launch.cache_clear()
