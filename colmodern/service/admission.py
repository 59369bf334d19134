"""Who may ask: the key of a request, and the host that it was sent to."""

from __future__ import annotations

from starlette.types import Scope

from colmodern.checks import shown
from colmodern.service.context import header
from colmodern.service.errors import ServiceError
from colmodern.service.keys import Keys

# paths that hold no data, so that balancers and browsers reach them without a key
OPEN_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
OPEN_FOLDER = "/page/"


def expect_key(scope: Scope, keys: Keys) -> None:
    """Raise ServiceError (401) for a request without one of the keys, where there are some."""
    root: str = scope.get("root_path", "")  # the path that this application is mounted at
    path = str(scope["path"]).removeprefix(root) or "/"
    if not keys or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
        return
    if not keys.admit(header(scope, b"authorization")):
        raise ServiceError(
            401,
            "unauthorized",
            "the request has no valid key",
            "send the header Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )


def expect_host(scope: Scope, hosts: tuple[str, ...] | None) -> None:
    """Raise ServiceError (400) for a request to a name that is not this server's.

    A page on the web may point a name of its own at this machine, and its reader's browser would
    then ask a server that needs no key.

    Args:
        scope: The request.
        hosts: Names of the server; None for any.
    """
    if hosts is None:
        return
    host = header(scope, b"host").decode("latin-1").lower()
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.strip("[]") not in hosts:
        raise ServiceError(
            400,
            "unknown_host",
            f"the header Host is {shown(host)}, which is no name of this server",
            "add the name to allowed_hosts in the server's settings",
        )
