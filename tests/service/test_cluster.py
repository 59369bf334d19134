"""What starting shards on a cluster makes of what Ray Serve says, without Ray itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from colmodern.cluster.replicas import runs
from colmodern.errors import UnavailableError


def application(status: str, *messages: str) -> SimpleNamespace:
    parts = {str(n): SimpleNamespace(message=message) for n, message in enumerate(messages)}
    return SimpleNamespace(status=status, deployments=parts)


def test_an_application_runs_once_ray_serve_says_so() -> None:
    assert not runs("docs.000001", application("NOT_STARTED"))
    assert not runs("docs.000001", application("DEPLOYING"))
    assert runs("docs.000001", application("RUNNING"))


@pytest.mark.parametrize("status", [None, application("DELETING")])
def test_an_application_that_is_stopped_before_it_runs_is_named(
    status: SimpleNamespace | None,
) -> None:
    with pytest.raises(UnavailableError, match=r"docs\.000001 was stopped before it had started"):
        runs("docs.000001", status)


def test_an_application_that_fails_has_its_last_error() -> None:
    failed = application("DEPLOY_FAILED", "", "Traceback:\n  here\nStorageError: it is damaged\n")
    with pytest.raises(UnavailableError, match="did not start: StorageError: it is damaged"):
        runs("docs.000001", failed)
