from __future__ import annotations

import pytest
import torch

from colmodern.errors import ConfigError
from colmodern.kernels.device import pick_device


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu")])
def test_the_cpu_has_one_name(device: str | torch.device) -> None:
    assert pick_device(device) == "cpu"


@pytest.mark.parametrize(
    "device",
    [
        *("mps", "mps:0", "xpu", "meta", "CUDA", "gpu", "cpu:1", "cuda:", "cuda:-1", "cuda:x"),
        *("cuda:01", "", " ", "cpu\n", "cuda:٣", None, 0, True, b"cpu"),
        *(torch.device("mps"), torch.device("meta")),
    ],
)
def test_other_devices_are_refused_in_one_line(device: object) -> None:
    with pytest.raises(
        ConfigError, match=r"index\.device=.*; give auto, cpu, cuda or cuda:N"
    ) as error:
        pick_device(device, name="index.device")  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_gpu_that_is_not_there_is_refused_with_how_many_there_are() -> None:
    expected = "torch sees [0-9]+ GPUs" if torch.cuda.is_available() else "torch sees no GPU"
    for device in ("cuda:99", torch.device("cuda", 99)):
        with pytest.raises(ConfigError, match=f"device='cuda:99', but {expected}"):
            pick_device(device)
