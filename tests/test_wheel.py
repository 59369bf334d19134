"""What is built and installed is the whole product. Run by `make test-wheel`, in its own empty folders."""

from __future__ import annotations

import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import installed
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).resolve().parents[1]
BUILD = (
    "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
)


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("the list of tracked files needs a git checkout")
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()]


def build(kind: str, sources: Path, output: Path) -> Path:
    """A wheel or an sdist of the sources, by the backend that pip calls."""
    output.mkdir()
    command = [sys.executable, "-I", "-c", BUILD, f"build_{kind}", str(output)]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [built] = output.iterdir()
    return built


def contents(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files alone, as they are now."""
    folder = tmp_path_factory.mktemp("export")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", export, tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="module")
def sdist(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", export, tmp_path_factory.mktemp("sdist") / "dist")


def test_the_wheel_has_every_file_of_the_package_and_every_recipe(wheel: Path) -> None:
    files = {name for name in contents(wheel) if ".dist-info/" not in name}
    package = {name for name in tracked() if name.startswith("colmodern/")}
    recipes = {f"colmodern/{name}" for name in tracked() if name.startswith("configs/")}
    assert files == package | recipes
    assert {"colmodern/index/plaid/index.py", "colmodern/configs/demo.yaml"} <= files
    digests = contents(wheel)
    for name in files:
        source = ROOT / name.replace("colmodern/configs/", "configs/")
        assert digests[name] == hashlib.sha256(source.read_bytes()).hexdigest(), name


def test_the_sdist_has_the_tree_and_builds_the_same_wheel(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [sources] = tmp_path.iterdir()
    files = {path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file()}
    assert {name for name in tracked() if name != ".gitignore"} <= files
    again = build("wheel", sources, tmp_path / "dist")
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


def test_a_module_that_an_earlier_build_left_is_not_shipped(wheel: Path, export: Path) -> None:
    stale = export / "build" / "lib" / "colmodern" / "deleted.py"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text("")
    assert contents(build("wheel", export, export.parent / "again")) == contents(wheel)


def test_the_page_of_the_package_says_what_it_is_and_has_no_dead_links(wheel: Path) -> None:
    page = metadata(wheel)
    for field in ("Summary", "Author", "License", "Keywords", "Requires-Python"):
        assert page[field], field
    text = page.get_payload()
    assert "# colmodern" in text
    assert not re.findall(r"\]\((?!https?:|#)[^)]*\)", text)
    assert "the log (`experiments/log/README.md`)" in text
    assert "![" not in text


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """The distributions here that these need, and all that those need."""
    needed: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        extras = [{"extra": extra} for extra in ("", *requirement.extras)]
        if requirement.marker and not any(requirement.marker.evaluate(extra) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        if name in needed:
            continue
        try:
            needed[name] = distribution(name)
        except PackageNotFoundError:  # what another platform or build of torch needs
            assert name.startswith(("nvidia", "cuda", "triton")), f"{requirement} is missing here"
            continue
        waiting += [Requirement(text) for text in needed[name].requires or ()]
    return needed


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and what it declares to need, nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    [site_packages] = folder.glob("lib/python*/site-packages")
    for dependency in closure(metadata(wheel).get_all("Requires-Dist", [])).values():
        for top in {file.parts[0] for file in dependency.files or ()} - {"..", "__pycache__"}:
            source = Path(str(dependency.locate_file(top)))
            if source.exists() and not (site_packages / top).exists():
                os.symlink(source, site_packages / top)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--isolated", "install", "-q"]
    install = [*pip, "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, cwd=folder, env=installed.environment())
    return python


def test_what_a_user_does_works_away_from_the_sources(python: Path, tmp_path: Path) -> None:
    installed.use(python, tmp_path)
