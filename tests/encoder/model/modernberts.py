"""Tiny ModernBERTs of transformers, and the rows that their eager forward gives, text by text."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

VOCABULARY = 200
MIXED = [512, 1, 127, 65, 128, 129, 66, 127, 64, 3]


def make_stock(**other: Any) -> Any:
    """A tiny ModernBERT with the real window and order of layers."""
    from transformers import ModernBertConfig, ModernBertModel

    sizes = {
        "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 7,
        **other,
    }  # fmt: skip
    config = ModernBertConfig(
        vocab_size=VOCABULARY,
        **sizes,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
        **dict.fromkeys(("cls_token_id", "sep_token_id"), 0),
    )
    config.reference_compile = False
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = ModernBertModel(config).eval()
    for name, weight in model.named_parameters():
        if "attn.W" in name:  # drawn this small, attention would hardly change anything
            weight.data *= 12
        if name.endswith("bias"):  # zeros as they are made
            torch.nn.init.normal_(weight.data, std=0.1)
    return model


def draw(lengths: list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, VOCABULARY, n).astype(np.int32) for n in lengths]


@torch.inference_mode()
def stock_rows(model: Any, ids: list[np.ndarray], attended: np.ndarray) -> torch.Tensor:
    """Every text alone, so that nothing is padded."""
    rows = []
    for text, n_attended in zip(ids, attended, strict=True):
        mask = torch.arange(len(text))[None] < int(n_attended)
        given = torch.from_numpy(text.astype(np.int64))[None]
        rows.append(model(input_ids=given, attention_mask=mask.long()).last_hidden_state[0])
    return torch.cat(rows)


def least_cosine(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.cosine_similarity(found.double(), expected.double()).min())
