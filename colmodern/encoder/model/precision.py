"""The dtype that ``auto`` stands for on this machine."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

_CPUINFO = Path("/proc/cpuinfo")


def resolve_dtype(dtype: str, device: str) -> str:
    """The dtype's name; "auto" is bfloat16 where its products are faster than float32's."""
    if dtype != "auto":
        return dtype
    resolved = "bfloat16" if is_bfloat16_fast(device) else "float32"
    logger.info("dtype auto: %s on %s", resolved, device)
    return resolved


def is_bfloat16_fast(device: str) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)  # older GPUs emulate it
    if device != "cpu":
        return False
    cpu = cpu_fields()
    flags = set(cpu.get("flags", "").split())
    # Intel's avx512_bf16 takes almost twice as long as float32; only its amx is fast
    return "amx_bf16" in flags or (
        "avx512_bf16" in flags and cpu.get("vendor_id") == "AuthenticAMD"
    )


def cpu_fields() -> dict[str, str]:
    """Fields of the first core in Linux's /proc/cpuinfo; empty on other systems."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return {}
    lines = text.partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
