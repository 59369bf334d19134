from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
import torch

from colmodern.errors import ConfigError, MissingExtraError
from colmodern.kernels import device as module
from colmodern.kernels.device import CPU, Devices, Kernels, resolve_device


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu")])
def test_the_cpu_has_one_name(device: str | torch.device) -> None:
    for kernels in get_args(Kernels):
        assert resolve_device(device, kernels=kernels) == CPU == Devices("cpu")


@pytest.mark.parametrize("kernels", get_args(Kernels))
@pytest.mark.parametrize(
    "device",
    [
        *("mps", "mps:0", "xpu", "meta", "CUDA", "gpu", "cpu:1", "cuda:", "cuda:-1", "cuda:x"),
        *("cuda:01", "", " ", "cpu\n", "cuda:٣", None, 0, True, b"cpu"),
        *(torch.device("mps"), torch.device("meta")),
    ],
)
def test_other_devices_are_refused_in_one_line(device: object, kernels: Kernels) -> None:
    with pytest.raises(
        ConfigError, match=r"index\.device=.*; give auto, cpu, cuda or cuda:N"
    ) as error:
        resolve_device(device, kernels=kernels, name="index.device")  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_gpu_that_is_not_there_is_refused_with_how_many_there_are() -> None:
    expected = "torch sees [0-9]+ GPUs" if torch.cuda.is_available() else "torch sees no GPU"
    for device in ("cuda:99", torch.device("cuda", 99)):
        with pytest.raises(ConfigError, match=f"device='cuda:99', but {expected}"):
            resolve_device(device)


def test_what_is_resolved_is_not_resolved_again() -> None:
    devices = Devices("cuda:7", (torch.device("cuda", 7),))
    assert resolve_device(devices) is devices


def test_auto_without_a_gpu_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for kernels in get_args(Kernels):
        assert resolve_device("auto", kernels=kernels) == CPU
        assert resolve_device("auto", kernels=kernels, auto="cpu") == CPU


def test_auto_takes_the_current_gpu_or_the_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(module, "_expect_usable", lambda gpu, name, setting: None)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setattr(module, "require", lambda name, extra: object())
    gpu = torch.device("cuda", 2)
    for kernels in ("triton", "triton or torch"):
        assert resolve_device("auto", kernels=kernels) == ("cuda:2", (gpu,), "")
        assert resolve_device("auto", kernels=kernels, auto="cuda").gpus == (gpu,)
        assert resolve_device("auto", kernels=kernels, auto="cuda:1").setting == "cuda:1"
        assert resolve_device("cuda:0, cuda", kernels=kernels).gpus == (
            torch.device("cuda", 0),
            gpu,
        )
    assert resolve_device("auto", kernels="torch") == Devices("cuda")


def test_torch_stands_in_for_triton_on_one_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "_expect_usable", lambda gpu, name, setting: None)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "triton", None)  # what a missing package looks like
    devices = resolve_device("cuda:1", kernels="triton or torch", name="index.device")
    assert devices[:2] == ("cuda:1", ())
    assert devices.missing.startswith("index.device='cuda:1' needs Triton: the package 'triton'")
    assert resolve_device("auto", kernels="triton or torch") == Devices("cuda")
    assert resolve_device("auto") == resolve_device("auto", auto="cuda:1") == CPU
    with pytest.raises(MissingExtraError, match="needs Triton"):
        resolve_device("cuda:1")
    with pytest.raises(MissingExtraError, match="needs Triton"):
        resolve_device("cuda:0,cuda:1", kernels="triton or torch")


def test_the_cpu_is_resolved_without_torch() -> None:
    code = (
        "import sys; from colmodern.kernels.device import resolve_device; resolve_device('cpu'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
