"""How kernels are launched: sizes of blocks, warps and pipeline depths, chosen once and kept.

The first of a kernel's launches is its default, thought out and compiled for Hopper without a GPU
at hand. ``tune`` times them all on the GPU and keeps the fastest in the user's cache folder for this
GPU, this version of Triton and these kernels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from colmodern.files import user_cache, write_json
from colmodern.kernels.cuda.runtime import multiprocessors

_PROGRAMS = 32  # a multiprocessor, at least, before a program takes more documents
_SOURCES = (
    "launches", "programs/maxsim", "programs/compressed", "programs/assign", "programs/encoder",
    "programs/encoding",
)  # fmt: skip


class Launch(NamedTuple):
    """Sizes of a launch.

    Attributes:
        block: Tokens of a document, centroids, or entries of a codebook at a time; for gelu_gate
            columns, for rotate heads.
        warps: Warps of a program.
        stages: Depth of the software pipeline.
        n_tokens: At most so many query tokens of a program; for assign_tiles and the encoder's,
            document tokens.
    """

    block: int
    warps: int
    stages: int
    n_tokens: int = 64

    @property
    def options(self) -> dict[str, int]:
        """As Triton takes them."""
        return {"num_warps": self.warps, "num_stages": self.stages}


LAUNCHES: dict[str, tuple[Launch, ...]] = {
    # document tokens as rows: four programs of 3 * 16 KB fit a multiprocessor
    "maxsim_few": (
        Launch(64, 4, 3), Launch(64, 4, 4), Launch(128, 4, 3), Launch(128, 8, 2), Launch(64, 4, 2),
    ),
    "maxsim_few_float32": (Launch(64, 4, 2, 32), Launch(64, 8, 2), Launch(64, 8, 2, 32)),
    # query tokens as rows: 64 document tokens waste 6 % of the products of 300
    "maxsim_many": (
        Launch(64, 8, 3, 256), Launch(64, 4, 3, 128), Launch(64, 4, 2, 128),
        Launch(128, 4, 2, 128), Launch(128, 8, 2, 256), Launch(128, 8, 3, 256),
    ),
    "maxsim_many_float32": (Launch(64, 8, 2, 128), Launch(64, 4, 2, 128)),
    "centroid_table": (Launch(128, 4, 1, 64), Launch(64, 4, 1, 64), Launch(128, 8, 1, 64)),
    "table_to_bytes": (Launch(128, 4, 1, 64), Launch(64, 4, 1, 64)),
    # a warp a document: maxima meet by shuffles alone
    "scan_codes": (
        Launch(32, 1, 1), Launch(64, 1, 1, 32), Launch(64, 2, 1), Launch(128, 4, 1), Launch(32, 1, 2),
    ),
    # no pipeline: the codebook's entries come from the first-level cache into registers
    "score_tokens": (
        Launch(64, 4, 1), Launch(64, 4, 2), Launch(64, 4, 3), Launch(128, 8, 1), Launch(128, 4, 1, 32),
    ),
    "score_tokens_shared": (Launch(64, 4, 1, 128), Launch(64, 4, 3, 128), Launch(128, 8, 1, 128)),
    "score_decoded": (Launch(64, 4, 1, 32), Launch(64, 4, 2, 32), Launch(64, 8, 1, 32)),
    "assign_tiles": (Launch(64, 4, 3, 64), Launch(64, 4, 3, 128), Launch(128, 8, 3, 128)),
    # bound by memory: a program only needs enough rows to keep loads in flight
    "add_norm": (Launch(1, 4, 1, 1), Launch(1, 4, 1, 2), Launch(1, 8, 1, 4)),
    "gelu_gate": (Launch(128, 4, 1, 16), Launch(128, 4, 1, 8), Launch(256, 8, 1, 16)),
    "encode_by_weights": (Launch(1, 4, 1, 128), Launch(1, 2, 1, 64), Launch(1, 8, 1, 256)),
    "encode_residuals": (Launch(16, 4, 1, 128), Launch(16, 4, 1, 64), Launch(32, 4, 1, 128)),
    "mean_by_document": (Launch(1, 4, 1, 1), Launch(1, 1, 1, 1)),
    "rotate": (Launch(8, 4, 1, 4), Launch(8, 4, 1, 8), Launch(4, 4, 1, 8)),
}  # fmt: skip


def launch_of(kernel: str, device: torch.device) -> Launch:
    """The launch that was fastest on this GPU, or the default."""
    return LAUNCHES[kernel][_tuned(device).get(kernel, 0)]


def tune(
    kernel: str, device: torch.device, work: Callable[[], object], timed: Callable[..., float]
) -> Launch:
    """Time ``work`` with each launch of a kernel, and keep the fastest for later processes.

    Args:
        kernel: A key of LAUNCHES.
        device: The GPU.
        work: Calls the kernel.
        timed: Milliseconds of a call, as triton.testing.do_bench gives them.
    """
    tuned = _tuned(device)
    before, milliseconds = dict(tuned), {}
    for number in range(len(LAUNCHES[kernel])):
        tuned[kernel] = number
        try:
            milliseconds[number] = timed(work)
        except Exception as error:  # noqa: BLE001, RUF100 a launch too large for the GPU
            if "out of resource" not in str(error).lower():
                tuned.clear()
                tuned.update(before)
                raise
    tuned[kernel] = min(milliseconds, key=milliseconds.__getitem__)
    write_json(_file(device), tuned)
    return LAUNCHES[kernel][tuned[kernel]]


def per_program(n_docs: int, mean: float, n_tiles: int, tokens: int, device: torch.device) -> int:
    """Documents of a program: ``tokens`` in all, while every multiprocessor has many programs.

    Args:
        n_docs: Documents to score.
        mean: Mean tokens of a document.
        n_tiles: Programs that share each document.
        tokens: Document tokens that a program should read.
        device: The GPU.
    """
    wanted = int(tokens / max(mean, 1.0))
    most = n_docs * n_tiles // (_PROGRAMS * multiprocessors(device))
    return max(1, min(wanted, most))


@cache
def _tuned(device: torch.device) -> dict[str, int]:
    """Index in LAUNCHES by kernel; a file that cannot be read counts as never tuned."""
    path = _file(device)
    try:
        numbers: Any = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    is_sound = isinstance(numbers, dict) and all(
        name in LAUNCHES and isinstance(n, int) and 0 <= n < len(LAUNCHES[name])
        for name, n in numbers.items()
    )
    return numbers if is_sound else {}


def _file(device: torch.device) -> Path:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter"
    digest = hashlib.sha256(f"{name} {version('triton')}".encode())
    for source in _sources():
        digest.update(source.read_bytes())
    return user_cache() / "kernels" / f"cuda-{digest.hexdigest()[:16]}.json"


def _sources() -> Iterable[Path]:
    return (Path(__file__).parent / f"{name}.py" for name in _SOURCES)
