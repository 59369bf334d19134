from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from checks import checks_in, run_checks

from colmodern.kernels.cuda import assign, compressed, encoder, encoding, exact
from colmodern.kernels.reference import cuda as reference_cuda
from colmodern.kernels.reference import encoder as reference_encoder
from colmodern.kernels.reference import encoding as reference_encoding
from colmodern.kernels.reference import maxsim as reference_maxsim

CHECKS = checks_in(Path(__file__).parent / "cuda")
BY_NAME = {"argvalues": CHECKS, "ids": lambda path: path.stem}
# kernel -> the modules of the fast and of the slow one
KERNELS = {
    "maxsim_scores": (exact, reference_maxsim),
    "quantize_tokens": (exact, reference_cuda),
    "score_documents": (exact, reference_cuda),
    "centroid_table": (compressed, reference_cuda),
    "table_to_bytes": (compressed, reference_cuda),
    "scan_codes": (compressed, reference_cuda),
    "score_tokens": (compressed, reference_cuda),
    "score_decoded": (compressed, reference_cuda),
    "assign_centroids": (assign, reference_encoding),
    "encode_by_weights": (encoding, reference_encoding),
    "encode_residuals": (encoding, reference_encoding),
    "mean_by_document": (encoding, reference_encoding),
    "add_norm": (encoder, reference_encoder),
    "gelu_gate": (encoder, reference_encoder),
    "rotate": (encoder, reference_encoder),
}


@pytest.mark.parametrize("path", **BY_NAME)
def test_kernels_equal_the_reference_in_the_interpreter(path: Path) -> None:
    run_checks(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", **BY_NAME)
def test_kernels_equal_the_reference_in_the_interpreter_at_more_shapes(path: Path) -> None:
    run_checks(path, marks="slow")


def test_every_kernel_is_in_the_table_of_tests() -> None:
    found = {
        name
        for module in (exact, compressed, assign, encoder, encoding)
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
        "import sys; from colmodern.kernels.cuda import assign, encoder, encoding, exact; "
        "sys.exit('triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
