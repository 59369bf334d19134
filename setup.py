"""What setup.cfg cannot say: the recipes of configs/ belong to the package, and the README stands alone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
_IMAGE = re.compile(r"!\[[^\]]*\]\((?!https?:)[^)]+\)\n*")
_RELATIVE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")


class BuildFromScratch(build_py):
    """Removes what an earlier build left: setuptools would put deleted modules into the wheel."""

    def run(self) -> None:
        """Copy the package into an empty build folder."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


def index_page() -> str:
    """The README for a package index, where links into the source tree would lead nowhere.

    Each becomes its text and, where that is not the path itself, the path; pictures are left out.
    """

    def plain(link: re.Match[str]) -> str:
        text, path = link.groups()
        return f"`{path}`" if path.endswith(text) else f"{text} (`{path}`)"

    page = _IMAGE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    return _RELATIVE_LINK.sub(plain, page)


setup(
    packages=[*find_packages(include=["colmodern*"]), "colmodern.configs"],
    package_dir={"colmodern.configs": "configs"},
    long_description=index_page(),
    long_description_content_type="text/markdown",
    cmdclass={"build_py": BuildFromScratch},
)
