"""What Triton's interpreter needs to stand for a GPU in tests of whole paths."""

from __future__ import annotations

from typing import Any

from colmodern.kernels.cuda.launches import LAUNCHES
from colmodern.kernels.reference.arithmetic import fused


def prepare_interpreter() -> None:
    """Round fused multiplications once, as GPUs do, and give programs many rows.

    A step of a program takes the interpreter hardly longer for many rows than for one.
    """
    from triton.runtime import interpreter

    def fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        return interpreter.TensorHandle(fused(x.data, y.data, z.data), z.dtype.scalar)

    interpreter.InterpreterBuilder.create_fma = fma
    larger = {
        "encode_by_weights": {"n_tokens": 1024},
        "encode_residuals": {"n_tokens": 1024, "block": 256},
        **{name: {"n_tokens": 64} for name in ("add_norm", "gelu_gate", "rotate")},
    }
    for name, sizes in larger.items():
        first, *others = LAUNCHES[name]
        LAUNCHES[name] = (first._replace(**sizes), *others)
