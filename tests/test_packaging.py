from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements(text: str) -> list[Requirement]:
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [Requirement(line) for line in lines if line]


def test_constraints_pin_everything_that_make_installs() -> None:
    pins = requirements((ROOT / "constraints.txt").read_text())
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in pins)
    names = {canonicalize_name(pin.name) for pin in pins}
    extras = setup_cfg()["options.extras_require"]
    wanted = requirements(setup_cfg()["options"]["install_requires"])
    wanted += requirements(extras["dev"])
    for requirement in wanted:
        assert canonicalize_name(requirement.name) in names, requirement
        versions = [
            p for p in pins if canonicalize_name(p.name) == canonicalize_name(requirement.name)
        ]
        for pin in versions:
            assert str(pin.specifier).removeprefix("==") in requirement.specifier


def test_the_package_keeps_ranges_and_pylate_an_extra() -> None:
    base = requirements(setup_cfg()["options"]["install_requires"])
    assert all(str(r.specifier).startswith(">=") for r in base)
    assert "pylate" not in {r.name for r in base}
    train = requirements(setup_cfg()["options.extras_require"]["train"])
    # what training calls beside PyLate; its own pins decide their versions
    assert [r.name for r in train] == ["pylate", "transformers", "accelerate"]


# what comes with a declared package, which needs it in every version
COMES_WITH = {
    "huggingface_hub": "transformers",
    "pydantic_core": "pydantic",
    "typing_extensions": "pydantic",
    "llvmlite": "numba",
    "pyarrow": "datasets",
    "faiss": "faiss-cpu",
    "yaml": "pyyaml",
}
EXTRAS = {
    "matplotlib": "plot",
    "triton": "gpu",
    "pylate": "train",
    "sentence_transformers": "train",  # comes with pylate
    "accelerate": "train",
    "mteb": "mteb",
    "pandas": "pyterrier",  # comes with python-terrier
    "anyio": "serve",
    "fastapi": "serve",
    "starlette": "serve",  # comes with fastapi
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "ray": "ray",
}


HOSTS = ("IPython",)  # only used where it is running already


def test_everything_that_is_imported_is_declared() -> None:
    declared = requirements(setup_cfg()["options"]["install_requires"])
    base = {canonicalize_name(requirement.name) for requirement in declared}
    for path in (ROOT / "colmodern").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.split(".")[0] for name in names} - {"colmodern"}:
                if name in sys.stdlib_module_names or name in HOSTS:
                    continue
                if name in EXTRAS:
                    assert EXTRAS[name] in setup_cfg()["options.extras_require"]
                    continue
                assert canonicalize_name(COMES_WITH.get(name, name)) in base, f"{path}: {name}"


def test_the_oldest_python_is_the_same_everywhere() -> None:
    cfg, pyproject = setup_cfg(), (ROOT / "pyproject.toml").read_text()
    classifiers = re.findall(r"Python :: (3\.\d+)", cfg["metadata"]["classifiers"])
    oldest = cfg["options"]["python_requires"].removeprefix(">=")
    assert classifiers[0] == oldest == cfg["mypy"]["python_version"]
    assert f'target-version = "py{oldest.replace(".", "")}"' in pyproject
    readme = (ROOT / "README.md").read_text()
    assert f"need Python {classifiers[0]} to {classifiers[-1]}" in readme


def test_make_installs_the_torch_that_the_constraints_name() -> None:
    makefile = (ROOT / "Makefile").read_text()
    torch = next(
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith("torch==")
    )
    assert f"TORCH := {torch}" in makefile
