from __future__ import annotations

from collections.abc import Callable

import pytest

from colmodern.cli.main import main


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    """Calls the command line; gives exit status, stdout and stderr."""

    def call(*arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code, *capfd.readouterr()

    return call
