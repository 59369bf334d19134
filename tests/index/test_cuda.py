from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checks import checks_in, run_checks
from conftest import unit_rows

from colmodern import ExactIndex, PlaidIndex
from colmodern.config.index import ExactIndexConfig
from colmodern.errors import ConfigError, MissingExtraError
from colmodern.index.exact.index import Precision
from colmodern.kernels import device as device_module
from colmodern.kernels.device import resolve_device
from colmodern.pipeline.searchers.registry import make_searcher

HERE = Path(__file__).parent
CHECKS = [*checks_in(HERE / "exact"), *checks_in(HERE / "plaid" / "cuda")]
BY_NAME = {"argvalues": CHECKS, "ids": lambda path: path.stem}


@pytest.mark.parametrize("path", **BY_NAME)
def test_search_on_a_gpu_in_the_interpreter(path: Path) -> None:
    run_checks(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", **BY_NAME)
def test_more_searches_on_a_gpu_in_the_interpreter(path: Path) -> None:
    run_checks(path, marks="slow")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    device_module._log_why_cpu.cache_clear()


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_takes_the_cpu_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = unit_rows([4, 5], 16, 0)
    with caplog.at_level(logging.INFO):
        index = PlaidIndex.build(documents, tmp_path / "index", device="auto")
        assert len(index.search(documents[0], 2)) == 2
    assert [record.message for record in caplog.records if "device=auto" in record.message] == [
        "device=auto: torch sees no GPU: no search kernel runs on a GPU"
    ]
    assert ExactIndex(documents, device="auto").device == "cpu"


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda:0,cuda:1"])
def test_without_a_gpu_asking_for_one_is_an_error(tmp_path: Path, device: str) -> None:
    documents = unit_rows([4, 5], 16, 0)
    PlaidIndex.build(documents, tmp_path / "index")
    with pytest.raises(ConfigError, match="torch sees no GPU here; use device=cpu or auto"):
        PlaidIndex.load(tmp_path / "index", device=device)
    with pytest.raises(ConfigError, match="torch sees no GPU here"):
        ExactIndex(documents, device=device)
    with pytest.raises(ConfigError, match="torch sees no GPU here"):
        PlaidIndex.build(documents, tmp_path / "other", device=device)
    assert not list(tmp_path.glob("*other*"))


@pytest.mark.parametrize("device", ["gpu", "cuda:0,cpu", "", "cuda:0,cuda:0", 3])
def test_devices_are_checked(device: object) -> None:
    with pytest.raises(ConfigError, match=r"device=.*(cuda:N|name each once)"):
        resolve_device(device)


@pytest.fixture
def no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device_module, "_expect_usable", lambda gpu, name, setting: None)
    monkeypatch.setitem(sys.modules, "triton", None)  # what a missing package looks like


@pytest.mark.usefixtures("no_triton")
def test_a_gpu_without_triton_is_used_through_torch_for_exact_search_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'colmodern\[gpu\]'"):
        resolve_device("cuda:0")
    documents = unit_rows([4, 5], 16, 0)
    index = ExactIndex(documents, device="cuda:0")
    assert index.device == "cuda:0"
    assert "exact search runs through torch, which is slower" in caplog.text


@pytest.mark.usefixtures("no_triton")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_several_gpus_without_triton_are_refused_in_one_message(
    caplog: pytest.LogCaptureFixture, precision: Precision
) -> None:
    message = (
        r"device='cuda:0,cuda:1' needs Triton: the package 'triton' is not installed; "
        r"install it with: pip install 'colmodern\[gpu\]'$"
    )
    with pytest.raises(MissingExtraError, match=f"^{message}"):
        ExactIndex(unit_rows([4, 5], 16, 0), device="cuda:0,cuda:1", precision=precision)
    with pytest.raises(MissingExtraError, match=rf"^index\.{message}"):
        make_searcher(ExactIndexConfig(device="cuda:0,cuda:1"), "cpu")
    assert make_searcher(ExactIndexConfig(device="cuda:1"), "cpu").device == "cuda:1"
    assert not caplog.records


def test_a_search_on_the_cpu_loads_nothing_of_gpus() -> None:
    code = (
        "import sys, colmodern; colmodern.PlaidIndex, colmodern.ExactIndex; "
        "gpu = ('colmodern.kernels.cuda.', 'triton.'); "
        "sys.exit(any(f'{name}.'.startswith(gpu) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
