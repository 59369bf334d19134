from __future__ import annotations

import numpy as np
import pytest
from kernels.cuda.device_inputs import SLOW_IN_PART, to_device
from kernels.encoding_inputs import assign_inputs

from colmodern.kernels import encoding, reference_encoding
from colmodern.kernels.cuda import assign

ON_DEVICE = ("centroids", "centroid_scales", "half_norms")


@pytest.mark.parametrize("dim", SLOW_IN_PART)
@pytest.mark.parametrize("kind", ["random", "equal", "ends"])
def test_the_same_codes_as_the_cpu(dim: int, kind: str) -> None:
    inputs = assign_inputs([33, 1, 127, 64, 31, 0, 2], 150, dim, dim, kind=kind)
    expected, fast = inputs["codes"].copy(), inputs["codes"].copy()
    reference_encoding.assign_centroids(*{**inputs, "codes": expected}.values())
    encoding.assign_centroids(*{**inputs, "codes": fast}.values())
    given = {
        name: to_device(value) if name in ON_DEVICE else value for name, value in inputs.items()
    }
    assign.assign_centroids(**given)
    np.testing.assert_array_equal(given["codes"], expected)
    np.testing.assert_array_equal(given["codes"], fast)


def test_no_tokens() -> None:
    inputs = assign_inputs([0], 5, 48, 0)
    given = {
        name: to_device(value) if name in ON_DEVICE else value for name, value in inputs.items()
    }
    assign.assign_centroids(**given)
    assert len(given["codes"]) == 0
