from __future__ import annotations

import inspect
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from colmodern.kernels import reference, reference_cuda, reference_encoding
from colmodern.kernels.cuda import assign, compressed, exact

FOLDER = Path(__file__).parent / "cuda"
CHECKS = sorted(path.stem for path in FOLDER.glob("check_*.py"))
# kernel -> the modules of the fast and of the slow one
KERNELS = {
    "maxsim_scores": (exact, reference),
    "maxsim_scores_int8": (exact, reference_cuda),
    "score_documents": (exact, reference_cuda),
    "centroid_table": (compressed, reference_cuda),
    "table_to_bytes": (compressed, reference_cuda),
    "scan_codes": (compressed, reference_cuda),
    "score_tokens": (compressed, reference_cuda),
    "score_decoded": (compressed, reference_cuda),
    "assign_centroids": (assign, reference_encoding),
}


def run_checks(name: str, **environment: str) -> None:
    """Run a file of tests in a process of its own: Triton reads its settings when it is imported."""
    if find_spec("triton") is None and platform.system() != "Linux":
        pytest.skip("Triton has no build for this system")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            str(FOLDER / f"{name}.py"),
        ],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.parametrize("name", CHECKS)
def test_kernels_equal_the_reference_in_the_interpreter(name: str) -> None:
    run_checks(name, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.gpu
@pytest.mark.parametrize("name", CHECKS)
def test_kernels_equal_the_reference_on_a_card(name: str) -> None:
    run_checks(name, TRITON_INTERPRET="0")


def test_every_kernel_is_in_the_table_of_tests() -> None:
    found = {
        name
        for module in (exact, compressed, assign)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    }
    assert found == set(KERNELS)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_names_and_arguments_are_those_of_the_reference(name: str) -> None:
    fast, slow = (getattr(module, name) for module in KERNELS[name])
    positional = [
        parameter.name
        for parameter in inspect.signature(fast).parameters.values()
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    assert positional == list(inspect.signature(slow).parameters)


def test_importing_the_kernels_does_not_import_triton() -> None:
    code = (
        "import sys; from colmodern.kernels.cuda import assign, compressed, exact, runtime; "
        "sys.exit('triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
