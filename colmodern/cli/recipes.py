"""colmodern recipes, and colmodern recipes show NAME."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from colmodern.config.recipes import Recipe


@click.group("recipes", invoke_without_command=True)
@click.option("--all", "with_members", is_flag=True, help="Also list what is in suites.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(context: click.Context, with_members: bool, as_json: bool) -> None:
    """List the built-in configs, under the commands that run them.

    Every command that takes a CONFIG also takes their names; a file or folder of the same name wins.
    `colmodern recipes show NAME` prints one to start a config of your own from.
    """
    if context.invoked_subcommand is not None:
        return
    from colmodern.config.recipes import list_recipes

    recipes = list_recipes()
    if as_json:
        facts = [
            {
                "name": recipe.name,
                "command": f"colmodern {recipe.command}",
                "description": recipe.description,
                "path": str(recipe.path),
            }
            for recipe in recipes
        ]
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    shown = [recipe for recipe in recipes if with_members or not recipe.is_in_suite]
    click.echo("\n".join(_lines(shown)))
    if len(shown) < len(recipes):
        click.echo(
            "\n`colmodern recipes --all` also lists what is in suites, such as nanobeir/colbertv2"
        )


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print the recipe NAME, such as demo or sweep/plaid, as one file that can be changed and run.

    A recipe that extends others has their settings in it, as in
    colmodern recipes show sweep/plaid > mine.yaml
    """
    from colmodern.config.recipes import recipe_text
    from colmodern.config.shipped import find_recipe

    click.echo(recipe_text(find_recipe(name)[1]), nl=False)


def _lines(recipes: Sequence[Recipe]) -> list[str]:
    """Recipes by their commands, then the models with published scores."""
    from colmodern.config.shipped import KINDS, published_models

    by_kind: dict[str, list[tuple[str, str]]] = {}
    for recipe in recipes:
        kind, _, name = recipe.command.partition(" ")
        by_kind.setdefault(kind, []).append((name, recipe.description))
    lines = []
    for kind in KINDS:
        if kind not in by_kind:
            continue
        entries = by_kind[kind]
        width = max(len(name) for name, _ in entries)
        also = " (or plan)" if kind == "eval" else ""
        lines.append(f"colmodern {kind} NAME{also}")
        lines += [f"  {name:{width}}  {description}".rstrip() for name, description in entries]
        lines.append("")
    lines.append("colmodern reproduce MODEL/SET, with published scores of")
    models = published_models()
    width = max(map(len, models), default=0)
    lines += [f"  {model:{width}}  {', '.join(suites)}" for model, suites in models.items()]
    return lines
