"""What this CPU makes of a dtype: products and attention in ModernBERT-base's shape, one thread.

    python experiments/benchmarks/products.py

Rows are appended to experiments/results/products.csv: GFLOP/s of the process's own time, best of
several. "dtype: auto" rests on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from results import append_rows, machine_and_commit

from colmodern.encoder.model.linear import make_linear

RESULTS = Path(__file__).resolve().parents[1] / "results" / "products.csv"
COLUMNS = ("date", "commit", "machine", "torch", "operation", "shape", "dtype", "gflop_per_s")
DTYPES = (torch.float32, torch.bfloat16)
LINEAR = [(512, 768, 2304), (512, 768, 1152), (512, 1152, 768)]  # rows, in, out
TEXTS = [(64, 32), (16, 128), (1, 4096)]  # texts, tokens of each
N_HEADS, HEAD_DIM = 12, 64


def gflop_per_s(operations: float, run: Callable[[], object]) -> float:
    """The best of ten."""
    run()
    best = float("inf")
    for _ in range(10):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return round(operations / best / 1e9, 1)


def measure_linear(shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    """The encoder's own linear layer."""
    n_rows, n_in, n_out = shape
    linear = make_linear(torch.randn(n_out, n_in).to(dtype), None)
    x = torch.randn(n_rows, n_in).to(dtype)
    return gflop_per_s(2 * n_rows * n_in * n_out, lambda: linear(x))


def measure_attention(shape: tuple[int, int], dtype: torch.dtype) -> float:
    """Run scaled_dot_product_attention of torch."""
    n_texts, length = shape
    q = torch.randn(n_texts, N_HEADS, length, HEAD_DIM).to(dtype)
    operations = 4 * n_texts * N_HEADS * length**2 * HEAD_DIM
    attend = torch.nn.functional.scaled_dot_product_attention
    return gflop_per_s(operations, lambda: attend(q, q, q))


@torch.inference_mode()
def main() -> None:
    """Measure every operation in every dtype."""
    torch.set_num_threads(1)
    common = {"date": date.today().isoformat(), **machine_and_commit(), "torch": torch.__version__}
    for operation, shapes, measure in (
        ("linear", LINEAR, measure_linear),
        ("attention", TEXTS, measure_attention),
    ):
        for shape in shapes:
            for dtype in DTYPES:
                facts = {"operation": operation, "shape": " x ".join(map(str, shape))}
                facts |= {"dtype": str(dtype).removeprefix("torch.")}
                row = {**common, **facts, "gflop_per_s": measure(shape, dtype)}
                append_rows(RESULTS, [row], COLUMNS)
                print(*(row[name] for name in COLUMNS[4:]), flush=True)


if __name__ == "__main__":
    main()
