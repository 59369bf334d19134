"""What Triton's interpreter needs to stand for a GPU in tests of whole paths."""

from __future__ import annotations

from typing import Any

import numpy as np

from colmodern.kernels.cuda.launches import LAUNCHES
from colmodern.kernels.reference.arithmetic import fused


def prepare_interpreter() -> None:
    """Round as GPUs do, fused multiplications once and bfloat16 to nearest, and give programs many rows.

    Loops over a tensor's values also run with NumPy 2.5 where Triton is older than 3.7.
    A step of a program takes the interpreter hardly longer for many rows than for one.
    """
    from triton import language
    from triton.runtime import interpreter

    def fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        return interpreter.TensorHandle(fused(x.data, y.data, z.data), z.dtype.scalar)

    cast = interpreter.InterpreterBuilder.cast_impl

    def cast_to_nearest(self: Any, source: Any, dtype: Any) -> Any:
        if (source.dtype.scalar, dtype.scalar) != (language.float32, language.bfloat16):
            return cast(self, source, dtype)
        bits = np.ascontiguousarray(source.data).view(np.uint32)
        halves = bits + np.uint32(0x7FFF) + (bits >> 16 & 1)  # to the even one
        return interpreter.TensorHandle((halves >> 16).astype(np.uint16), dtype.scalar)

    interpreter.InterpreterBuilder.create_fma = fma
    interpreter.InterpreterBuilder.cast_impl = cast_to_nearest
    patch = interpreter._patch_lang_tensor

    def patch_and_mend(tensor: Any, *rest: Any) -> None:
        patch(tensor, *rest)
        tensor.__index__ = lambda self: int(self.handle.data.item())

    interpreter._patch_lang_tensor = patch_and_mend
    larger = {
        "encode_by_weights": {"n_tokens": 1024},
        "encode_residuals": {"n_tokens": 1024, "block": 256},
        **{name: {"n_tokens": 64} for name in ("add_norm", "gelu_gate", "rotate")},
    }
    for name, sizes in larger.items():
        first, *others = LAUNCHES[name]
        LAUNCHES[name] = (first._replace(**sizes), *others)
