"""Which dtype ``auto`` is on this machine."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

_CPUINFO = Path("/proc/cpuinfo")


def resolve_dtype(dtype: str, device: str) -> str:
    """The dtype's name, for "auto" bfloat16 where its products are the faster ones, else float32."""
    if dtype != "auto":
        return dtype
    chosen = "bfloat16" if is_bfloat16_fast(device) else "float32"
    logger.info("dtype auto: %s on %s", chosen, device)
    return chosen


def is_bfloat16_fast(device: str) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)  # older ones emulate it
    if device != "cpu":
        return False
    cpu = cpu_fields()
    flags = set(cpu.get("flags", "").split())
    # Intel's avx512_bf16 takes almost twice as long as float32; its amx is what is fast
    return "amx_bf16" in flags or (
        "avx512_bf16" in flags and cpu.get("vendor_id") == "AuthenticAMD"
    )


def cpu_fields() -> dict[str, str]:
    """What Linux says of this machine's first core, by name; empty elsewhere."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return {}
    lines = text.partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
