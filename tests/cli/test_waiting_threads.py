"""OpenMP's threads sleep while they wait, where a command starts beside other programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from subprocess import run as run_process

import pytest


@pytest.mark.parametrize(
    ("command", "load", "given", "expected"),
    [
        ("encode", 0.4, None, None),
        ("encode", 0.6, None, "passive"),
        ("train", 0.6, None, "passive"),
        ("encode", 9.0, "active", "active"),
        ("evaluate", 9.0, None, None),  # loads no model
    ],
)
def test_they_sleep_where_the_machine_is_busy(
    run: Callable[..., tuple[object, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    load: float,
    given: str | None,
    expected: str | None,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (load * 8, 0.0, 0.0))
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")  # so that it is as before after the test
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    code, _, error = run(command, "--help")
    assert code == 0, error
    assert os.environ.get("OMP_WAIT_POLICY") == expected


def test_an_unknown_load_changes_nothing(
    run: Callable[..., tuple[object, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.delattr(os, "getloadavg")
    assert run("encode", "--help")[0] == 0
    assert "OMP_WAIT_POLICY" not in os.environ


def test_it_is_set_before_pytorch_is_loaded() -> None:
    code = (
        "import os, sys; os.getloadavg = lambda: (999.0,) * 3; set_default = os.environ.setdefault\n"
        "def setdefault(name, value):\n"
        "    if name == 'OMP_WAIT_POLICY': print('torch' in sys.modules)\n"
        "    return set_default(name, value)\n"
        "os.environ.setdefault = setdefault\n"
        "from colmodern.cli.main import main; main(['encode', '--help'])"
    )
    printed = run_process([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines()[0] == "False"
