"""Where the recipes are, and which file a name means.

Recipes are the built-in configs. The sources have them in ``configs/``, an installed package
in ``colmodern/configs``. A recipe's name is its path there without ".yaml": "demo", "sweep/plaid", or
a folder that is a suite, "eval/nanobeir". A command takes the names of its own folder without that
folder: `colmodern sweep plaid`, `colmodern eval nanobeir`.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Literal

from colmodern.errors import ConfigError
from colmodern.reading import user_path

Kind = Literal["eval", "sweep", "train", "mine"]  # the command that runs it
KINDS: tuple[Kind, ...] = ("eval", "sweep", "train", "mine")
EXPECTED = ".expected.yaml"  # end of the names of files with published scores
_SUFFIX = ".yaml"


def recipes_folder() -> Path:
    """The folder of the recipes: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def shipped_recipes() -> dict[str, Path]:
    """Every recipe by its whole name, in the order of the names; suites are folders.

    Files whose names begin with "_" are only to be extended, and files of published scores belong
    to the recipe beside them; neither is a recipe.
    """
    top = recipes_folder()
    recipes = {}
    for file in top.rglob(f"*{_SUFFIX}"):
        if file.name.startswith("_") or file.name.endswith(EXPECTED):
            continue
        relative = file.relative_to(top)
        recipes[relative.with_suffix("").as_posix()] = file
        if len(relative.parts) > 2:  # folders in eval/ and sweep/ are suites, these two are not
            recipes[relative.parent.as_posix()] = file.parent
    return dict(sorted(recipes.items()))


def find_config(config: str | Path, kind: Kind) -> Path:
    """The config that a person means: a path that is there, or else the recipe of that name.

    Args:
        config: A path of a file or folder, or a recipe's name.
        kind: The command that asks; names in its folder go without the folder's name.

    Returns:
        The path of a config file, or of a folder that is a suite.

    Raises:
        ConfigError: There is neither; the message has the recipes whose names are close.
    """
    text = os.fspath(config)
    path = user_path(text, ConfigError)
    if os.path.exists(path):  # False, too, for what can be no path
        return path
    recipes = shipped_recipes()
    for name in (f"{kind}/{text}", text):
        if name in recipes:
            return recipes[name]
    raise ConfigError(
        f"cannot read {text}: there is no such file, and no recipe of that name; {_hint(text, kind)}"
    )


def find_recipe(name: str) -> tuple[str, Path]:
    """The whole name and the path of a recipe, by its whole name or by the end of it.

    Raises:
        ConfigError: There is no such recipe, or several end like that.
    """
    recipes = shipped_recipes()
    matches = [name] if name in recipes else [key for key in recipes if key.endswith(f"/{name}")]
    if len(matches) > 1:
        raise ConfigError(f"{name!r} may be {' or '.join(matches)}; give the whole name")
    if not matches:
        raise ConfigError(f"there is no recipe {name!r}; {_hint(name, 'eval')}")
    return matches[0], recipes[matches[0]]


def published_models() -> dict[str, list[str]]:
    """Models that have published scores here -> the suites that these are of."""
    models: dict[str, list[str]] = {}
    for file in sorted((recipes_folder() / "eval").glob(f"*/*{EXPECTED}")):
        models.setdefault(file.name.removesuffix(EXPECTED), []).append(file.parent.name)
    return dict(sorted(models.items()))


def command_of(name: str) -> str:
    """The command that runs a recipe, as "sweep plaid"; name: the whole one."""
    kind, _, rest = name.partition("/")
    return f"{kind} {rest}" if kind in KINDS else f"eval {name}"


def _hint(text: str, kind: Kind) -> str:
    """What to write instead of a name that is none."""
    names = list(shipped_recipes())
    if not names:
        return f"this installation has no recipes in {recipes_folder()}: install colmodern again"
    text = text[:200].removesuffix(_SUFFIX).removeprefix("./").removeprefix("configs/")
    same = [name for name in names if name == text or name.endswith(f"/{text}")]
    short = {name.removeprefix(f"{kind}/"): name for name in names}
    spelt = [*difflib.get_close_matches(text, short, n=3), *difflib.get_close_matches(text, names)]
    close = dict.fromkeys([*same, *(short.get(name, name) for name in spelt)])
    if not close:
        return "`colmodern recipes` lists them"
    commands = [f"`colmodern {command_of(name)}`" for name in list(close)[:3]]
    return f"did you mean {' or '.join(commands)}? `colmodern recipes` lists them all"
