from __future__ import annotations

import json

import pytest

from colmodern.errors import MissingExtraError
from colmodern.optional import package_folder, require


def test_what_is_installed_is_imported() -> None:
    assert require("json", extra="none") is json


def test_what_is_missing_comes_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'colmodern\[plot\]'") as caught:
        require("no_such_plotter", extra="plot")
    assert isinstance(caught.value, ImportError)


def test_a_packages_folder_is_found_without_importing_it() -> None:
    assert (package_folder("colmodern") / "errors.py").is_file()
    with pytest.raises(MissingExtraError, match="pip install no_such_weights"):
        package_folder("no_such_weights")
