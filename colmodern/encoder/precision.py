"""Which dtype ``auto`` is on this machine."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

_CPUINFO = Path("/proc/cpuinfo")
_NATIVE = {"avx512_bf16", "amx_bf16"}  # instructions that multiply bf16; others convert first


def resolve_dtype(dtype: str, device: str) -> str:
    """The dtype's name, for "auto" bfloat16 where the device multiplies it, else float32."""
    if dtype != "auto":
        return dtype
    chosen = "bfloat16" if has_bfloat16(device) else "float32"
    logger.info("dtype auto: %s on %s", chosen, device)
    return chosen


def has_bfloat16(device: str) -> bool:
    """Whether the device has instructions of its own for bfloat16 products."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)  # older ones emulate it
    return device == "cpu" and bool(_NATIVE & cpu_flags())


def cpu_flags() -> set[str]:
    """Instruction sets of this machine as Linux names them; empty elsewhere."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())
