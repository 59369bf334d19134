"""Imports of packages that the base install does not have."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from colmodern.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module.

    Raises:
        MissingExtraError: it is not installed; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(_cure(module, f"'colmodern[{extra}]'")) from error


def package_folder(package: str) -> Path:
    """Folder of an installed package, located without importing it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(_cure(package, package))
    return Path(next(iter(spec.submodule_search_locations)))


def _cure(module: str, wanted: str) -> str:
    return f"the package {module!r} is not installed; install it with: pip install {wanted}"
