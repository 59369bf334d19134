"""ModernBERT-base with random weights on a GPU: colmodern beside transformers, without a network.

Passages of about 120 tokens, and texts of 8,192. Times are medians of a caller that waits for rows
on the host; a share is of the bfloat16 product measured in the same run, by the arithmetic that the
model needs: its products, and attention inside windows in local layers.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from gpu_timing import Limits

from colmodern.encoder.model.modernbert import PackedModernBert

Row = dict[str, Any]
Ids = list[np.ndarray]
_DIM, _RUNS = 128, 3
_CHECKED = 16  # passages whose rows are compared with those of transformers in float32


class Shape(NamedTuple):
    """Sizes of the model and of what it encodes."""

    config: dict[str, int]
    passages: int
    long: int
    longest: int
    padded: tuple[int, ...]  # batches of transformers, for passages
    tokens_per_batch: int = 65_536


_BASE = Shape({}, 2000, 64, 8192, (32, 128, 512))
_TINY = Shape(
    {
        "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "vocab_size": 500,
        "num_hidden_layers": 4, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
        "cls_token_id": 0, "sep_token_id": 0,
    },
    3, 1, 128, (3,), 400,
)  # fmt: skip


def measure_encoders(device: str, limits: Limits) -> Iterator[Row]:
    """Rows of both engines on both kinds of texts, and of how near they are to float32."""
    from transformers import ModernBertConfig, ModernBertModel

    is_cuda = device == "cuda"
    shape, place = (_BASE if is_cuda else _TINY), torch.device(device)
    dtype = torch.bfloat16 if is_cuda else torch.float32
    torch.manual_seed(0)
    config = ModernBertConfig(**shape.config)
    config.reference_compile = False
    model = ModernBertModel._from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "attn.W" in name:  # drawn as small as it is, attention would hardly change anything
                weight.mul_(3)
    weights = {name: one.clone() for name, one in model.state_dict().items()}
    packed = PackedModernBert(config, weights, device=place, dtype=dtype)
    model = model.to(place, dtype)
    texts = _texts(shape, config.vocab_size)
    for kind, ids in texts.items():
        n_tokens = sum(map(len, ids))
        what = f"{kind}: {len(ids)} texts, {n_tokens} tokens"
        flops = sum(_flops(config, len(text)) for text in ids)
        engines: list[tuple[str, Callable[[], object]]] = [
            ("colmodern", lambda ids=ids: _packed(packed, ids, shape.tokens_per_batch))
        ]
        sizes = shape.padded if kind == "passages" else (8, 2)
        engines += [
            (f"transformers, batches of {n}", lambda ids=ids, n=n: _padded(model, ids, n))
            for n in sizes
        ]
        for engine, call in engines:
            yield _measured(what, engine, call, n_tokens, flops, limits, is_cuda=is_cuda)
    exact = ModernBertModel._from_config(config, attn_implementation="sdpa").eval()
    exact.load_state_dict(weights)
    yield from _cosines(packed, model, exact.to(place), texts["passages"][:_CHECKED], shape)


def _texts(shape: Shape, n_vocabulary: int) -> dict[str, Ids]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(70, 171, shape.passages)

    def draw(n: int) -> np.ndarray:
        return rng.integers(5, n_vocabulary, n).astype(np.int32)

    long = [draw(shape.longest) for _ in range(shape.long)]
    return {"passages": [draw(n) for n in lengths], f"{shape.longest} tokens": long}


def _flops(config: Any, n_tokens: int) -> float:
    """Operations of products and of attention that a text needs."""
    hidden, between = config.hidden_size, config.intermediate_size
    n_layers = config.num_hidden_layers
    n_global = config.layer_types.count("full_attention")
    products = 2.0 * n_tokens * hidden * (4 * hidden + 3 * between) * n_layers
    near = min(n_tokens, config.local_attention + 1)
    pairs = n_global * n_tokens**2 + (n_layers - n_global) * n_tokens * near
    return products + 4.0 * pairs * hidden


def _batches(ids: Ids, tokens_per_batch: int) -> Iterator[Ids]:
    batch: Ids = []
    for text in sorted(ids, key=len, reverse=True):
        if batch and sum(map(len, batch)) + len(text) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


@torch.inference_mode()
def _packed(model: PackedModernBert, ids: Ids, tokens_per_batch: int) -> list[torch.Tensor]:
    """The first dimensions of all rows on the host, each batch's while the next is computed."""
    from colmodern.kernels.cuda.memory import HostCopy

    copies = []
    for batch in _batches(ids, tokens_per_batch):
        hidden = model(batch, np.array([len(text) for text in batch]))
        copies.append(HostCopy(hidden[:, :_DIM].float()))
    return [torch.from_numpy(copy.wait()) for copy in copies]


@torch.inference_mode()
def _padded(model: torch.nn.Module, ids: Ids, n: int) -> list[torch.Tensor]:
    ordered, rows = sorted(ids, key=len, reverse=True), []
    for first in range(0, len(ordered), n):
        batch = ordered[first : first + n]
        lengths = np.array([len(text) for text in batch])
        padded = np.zeros((len(batch), lengths.max()), np.int64)
        for row, text in zip(padded, batch, strict=True):
            row[: len(text)] = text
        mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None]).to(model.device)
        given = torch.from_numpy(padded).to(model.device)
        hidden = model(input_ids=given, attention_mask=mask.long()).last_hidden_state[mask]
        rows.append(hidden[:, :_DIM].float().cpu())
    return rows


def _measured(
    what: str,
    engine: str,
    call: Callable[[], object],
    n_tokens: int,
    flops: float,
    limits: Limits,
    *,
    is_cuda: bool,
) -> Row:
    row: Row = {"work": "encode", "shape": what, "engine": engine}
    try:
        call()  # compiles
        base = _begin(is_cuda)
        seconds = []
        for _ in range(_RUNS if is_cuda else 1):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    except Exception as error:
        note = f"not run: {type(error).__name__}: {str(error).splitlines()[:1]}"
        return {**row, "note": note, "failed": engine == "colmodern"}
    row |= {"wall_ms": 1000 * median(seconds), "tokens_per_s": round(n_tokens / median(seconds))}
    if limits.flops:
        row |= {"share": flops / median(seconds) / limits.flops, "of": "bf16 product"}
    if is_cuda:
        row["peak_mb"] = round((torch.cuda.max_memory_allocated() - base) / 1e6)
    return row


def _begin(is_cuda: bool) -> int:
    """Bytes on the GPU before anything runs."""
    gc.collect()
    if not is_cuda:
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_allocated())


def _cosines(
    packed: PackedModernBert, model: torch.nn.Module, exact: torch.nn.Module, ids: Ids, shape: Shape
) -> Iterator[Row]:
    truth = torch.cat(_padded(exact, ids, len(ids)))
    engines = {
        "colmodern": lambda: torch.cat(_packed(packed, ids, shape.tokens_per_batch)),
        "transformers": lambda: torch.cat(_padded(model, ids, len(ids))),
    }
    for engine, call in engines.items():
        cosine = float(torch.cosine_similarity(call().double(), truth.double()).min())
        what = f"{len(truth)} tokens, beside float32"
        wrong = engine == "colmodern" and cosine < 0.999
        row = {"work": "encode, least cosine", "shape": what, "engine": engine}
        yield {**row, "note": f"{cosine:.6f}", "failed": wrong}
