"""The same bytes as the reference: no tolerance anywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps

import numpy as np
import pytest
from kernels.cuda.device_inputs import to_device
from kernels.encoding_inputs import residual_inputs, weight_inputs
from kernels.kernel_inputs import Inputs, run

from colmodern.kernels.cuda import encoding
from colmodern.kernels.cuda.launches import LAUNCHES
from colmodern.kernels.reference import encoding as reference_encoding
from colmodern.ragged.offsets import offsets_of


def on_device(kernel: Callable[..., None]) -> Callable[..., None]:
    """The kernel with arrays of the host, which it writes as the reference does."""

    @wraps(kernel)
    def launch(*given: np.ndarray | float) -> None:
        inputs = dict(zip(inspect.signature(kernel).parameters, given, strict=True))
        arrays = {name: one for name, one in inputs.items() if isinstance(one, np.ndarray)}
        tensors = {name: to_device(one.copy()) for name, one in arrays.items()}
        kernel(**{**inputs, **tensors})
        for name, array in arrays.items():
            if name in ("gains", "residuals", "means"):
                array[:] = tensors[name].cpu().numpy()
            else:
                np.testing.assert_array_equal(tensors[name].cpu().numpy(), array)

    return launch


def assert_same_bytes(name: str, inputs: Inputs) -> None:
    found = run(on_device(getattr(encoding, name)), inputs)
    expected = run(getattr(reference_encoding, name), inputs)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)


@pytest.mark.parametrize("kind", ["random", "zero", "ties", "ends"])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_encode_residuals(nbits: int, kind: str) -> None:
    assert_same_bytes("encode_residuals", residual_inputs(33, 8, nbits, 1, kind=kind))


@pytest.mark.slow
@pytest.mark.parametrize("dim", [48, 128])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_encode_residuals_of_usual_widths(nbits: int, dim: int) -> None:
    assert_same_bytes("encode_residuals", residual_inputs(300, dim, nbits, 1))


@pytest.mark.parametrize("n_tokens", [0, 1, 127, 128, 300])
def test_encode_residuals_of_any_number_of_tokens(n_tokens: int) -> None:
    assert_same_bytes("encode_residuals", residual_inputs(n_tokens, 8, 2, n_tokens))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["encode_residuals", "encode_by_weights"])
def test_every_launch_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = {"encode_residuals": lambda: residual_inputs(150, 8, 8, 1)}
    inputs = make.get(name, lambda: weight_inputs(150, 8, 1))()
    for launch in (*LAUNCHES[name], LAUNCHES[name][0]._replace(n_tokens=128, block=16)):
        monkeypatch.setattr(encoding, "launch_of", lambda name, device, launch=launch: launch)
        assert_same_bytes(name, inputs)


@pytest.mark.parametrize("kind", ["random", "zero", "ends", "one length"])
@pytest.mark.parametrize("dim", [8, 48, 96])
def test_encode_by_weights(dim: int, kind: str) -> None:
    assert_same_bytes("encode_by_weights", weight_inputs(33, dim, dim, kind=kind))


@pytest.mark.parametrize("n_tokens", [0, 1, 127, 128, 300])
def test_encode_by_weights_of_any_number_of_tokens(n_tokens: int) -> None:
    assert_same_bytes("encode_by_weights", weight_inputs(n_tokens, 8, n_tokens))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 3e4])
def test_odd_lengths_of_vectors(scale: float) -> None:
    """Squares that vanish, lengths that are below what a gain can say, and others far above."""
    for name, inputs in (
        ("encode_residuals", residual_inputs(33, 8, 4, 1)),
        ("encode_by_weights", weight_inputs(33, 8, 1)),
    ):
        values = (inputs["values"] * scale).astype(np.float32)
        values[:4] = [[-0.0], [np.float32(2**-149)], [1.0], [-1.0]]  # zero, least, equal values
        assert_same_bytes(name, {**inputs, "values": values})


def test_a_gain_between_two_steps_becomes_the_even_one() -> None:
    inputs = residual_inputs(4, 8, 1, seed=1)
    inputs["codebook"][:], inputs["half_norms"][:] = 0, 0
    inputs["codebook"][0, 3, 0], inputs["half_norms"][0, 3] = 1, 0.5
    inputs["values"][:], inputs["values"][:, 0] = 0, [0.5, 1.5, 2.5, 300]
    found = run(on_device(encoding.encode_residuals), {**inputs, "gain_step": np.float32(1)})
    assert found["residuals"].tolist() == [[3]] * 4
    assert found["gains"].tolist() == [0, 2, 2, 255]


def test_a_vector_whose_entry_depends_on_a_fused_multiplication(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = residual_inputs(4000, 8, 4, 2)
    one = {name: inputs[name][1267:1268] for name in ("values", "gains", "residuals")}
    assert_same_bytes("encode_residuals", {**inputs, **one})
    once = run(reference_encoding.encode_residuals, {**inputs, **one})
    monkeypatch.setattr(reference_encoding, "fused", lambda a, b, c: a * b + c)
    twice = run(reference_encoding.encode_residuals, {**inputs, **one})
    assert (once["residuals"] != twice["residuals"]).any()


@pytest.mark.parametrize("lengths", [[], [0], [1], [0, 200, 2, 0, 33]])
@pytest.mark.parametrize("dim", [8, 48, 123])
def test_mean_by_document(dim: int, lengths: list[int]) -> None:
    values = np.random.default_rng(dim).normal(size=(sum(lengths), dim)).astype(np.float32)
    inputs = {
        "values": values,
        "doc_offsets": offsets_of(lengths),
        "means": np.full((len(lengths), dim), np.nan, np.float32),
    }
    assert_same_bytes("mean_by_document", inputs)
