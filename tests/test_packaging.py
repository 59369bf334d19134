from __future__ import annotations

import configparser
import re
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


def test_make_installs_the_torch_that_the_constraints_name() -> None:
    makefile = (ROOT / "Makefile").read_text()
    torch = next(
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith("torch==")
    )
    assert f"TORCH := {torch}" in makefile
