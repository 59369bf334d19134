from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checks import checks_in, run_checks
from pipeline.evaluate.test_run import run

from colmodern.config.index import ExactIndexConfig, PlaidIndexConfig
from colmodern.errors import ConfigError
from colmodern.kernels import device as device_module
from colmodern.pipeline.searchers.registry import make_searcher

CHECKS = checks_in(Path(__file__).parents[1] / "cuda")


@pytest.mark.slow
@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_evaluations_on_a_gpu_in_the_interpreter(path: Path) -> None:
    run_checks(path)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def test_auto_is_where_the_encoder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "_expect_usable", lambda gpu, name, setting: None)
    assert make_searcher(ExactIndexConfig(), "cpu").device == "cpu"
    assert make_searcher(PlaidIndexConfig(), "cpu").device == "cpu"
    assert make_searcher(ExactIndexConfig(), "cuda:1").device == "cuda:1"


def test_auto_takes_the_gpu_for_an_index_only_with_its_kernels(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device_module, "_triton_gpus", lambda device, name: (torch.device(device),))
    monkeypatch.setattr(device_module, "find_spec", lambda name: object())
    assert make_searcher(PlaidIndexConfig(), "cuda:1").device == "cuda:1"
    monkeypatch.setattr(device_module, "find_spec", lambda name: None)
    device_module._warn_of_missing_triton.cache_clear()
    with caplog.at_level(logging.WARNING):
        searcher = make_searcher(PlaidIndexConfig(nbits=2), "cuda:1")
    assert searcher.config == PlaidIndexConfig(nbits=2, device="cpu")
    assert "index.device=auto: Triton is not installed" in caplog.text
    assert "pip install 'colmodern[gpu]'" in caplog.text


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("kind", ["exact", "plaid"])
@pytest.mark.parametrize("device", ["cuda", "cuda:0,cuda:1"])
def test_a_gpu_that_is_not_there_is_refused_before_all_work(
    eval_config: Callable[..., Path], tmp_path: Path, kind: str, device: str
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^index\.device='cuda.*torch sees no GPU here; use index\.device=cpu or auto$",
    ):
        run(eval_config(extra=f"index: {{kind: {kind}, device: '{device}'}}\n"))
    assert not (tmp_path / "runs").exists()
