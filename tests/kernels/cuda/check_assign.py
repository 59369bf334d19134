from __future__ import annotations

import numpy as np
import pytest
from kernels.cuda.device_inputs import SLOW_IN_PART, to_device
from kernels.encoding_inputs import assign_inputs
from kernels.kernel_inputs import Inputs

from colmodern.kernels.cpu import encoding
from colmodern.kernels.cuda import assign
from colmodern.kernels.reference import encoding as reference_encoding


def on_device(inputs: Inputs) -> np.ndarray:
    """The codes that the kernel in Triton writes."""
    centroids = inputs["centroids"]
    arrays = (centroids.values, centroids.scales, centroids.half_norms)
    codes = to_device(inputs["codes"])
    assign.assign_centroids(
        to_device(inputs["values"]),
        inputs["groups"],
        assign.DeviceCentroids(*map(to_device, arrays)),
        codes,
    )
    return codes.cpu().numpy()


@pytest.mark.parametrize("dim", SLOW_IN_PART)
@pytest.mark.parametrize("kind", ["random", "equal", "ends"])
def test_the_same_codes_as_the_cpu(dim: int, kind: str) -> None:
    inputs = assign_inputs([33, 1, 127, 64, 31, 0, 2], 150, dim, dim, kind=kind)
    expected, fast = inputs["codes"].copy(), inputs["codes"].copy()
    reference_encoding.assign_centroids(*{**inputs, "codes": expected}.values())
    encoding.assign_centroids(*{**inputs, "codes": fast}.values())
    found = on_device(inputs)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, fast)


def test_no_tokens() -> None:
    inputs = assign_inputs([0], 5, 48, 0)
    assert len(on_device(inputs)) == 0
