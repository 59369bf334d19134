"""The ``colmodern`` command: thin, and quick to start because each command loads its own."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any

import click

from colmodern.errors import ColmodernError

# command -> its module, which has a click command of the same name, and its help in one line
_COMMANDS = {
    "eval": ("colmodern.cli.eval", "Run an evaluation from a config file."),
    "plan": ("colmodern.cli.plan", "What an evaluation takes: tokens, disk, memory, time."),
    "reproduce": (
        "colmodern.cli.reproduce",
        "Compare a published score with the one obtained here.",
    ),
    "recipes": ("colmodern.cli.recipes", "List the configs that come along, or print one."),
    "fetch": ("colmodern.cli.fetch", "Fetch data sets by name, to be used offline."),
    "compare": (
        "colmodern.cli.compare",
        "Compare runs: paired tests, and what their recipes change.",
    ),
    "sweep": (
        "colmodern.cli.sweep",
        "Measure many settings: a table, and the best for their cost.",
    ),
    "encode": ("colmodern.cli.encode", "Encode a collection into a folder of token embeddings."),
    "search": ("colmodern.cli.search", "Search a run or a folder of token embeddings."),
    "index": ("colmodern.cli.index", "Build, change and inspect a compressed index."),
    "rerank": ("colmodern.cli.rerank", "Reorder a TREC run by exact MaxSim."),
    "train": ("colmodern.cli.train", "Train a model through PyLate from a config file."),
    "mine": ("colmodern.cli.mine", "Find hard negatives for training, with a teacher's scores."),
    "info": (
        "colmodern.cli.info",
        "Describe this machine, a model, embeddings, an index or a run.",
    ),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = import_module(_COMMANDS[name][0]).command
        _offer_debug(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _offer_debug(command: click.Command) -> None:
    """Let --debug stand behind the command too, and behind those of a group."""
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _offer_debug(inner)
    if not any(option.name == "debug" for option in command.params):
        debug = click.Option(["--debug"], is_flag=True, expose_value=False, help="Show tracebacks.")
        command.params.append(debug)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="colmodern")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Late-interaction retrieval: encode, search, rerank and evaluate, reproducibly."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a fault of ours, 2 the caller can mend it.

    With 3 the work ended and not all of it is well; with 130, as shells expect, it was interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        status: Any = cli.main(given, standalone_mode=False)
    except click.exceptions.Abort:
        _say("interrupted; finished parts are kept: run the same command again to go on")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except ColmodernError as error:
        if "--debug" in given:
            raise
        _say(f"error: {error}")
        sys.exit(2)
    except Exception as error:
        if "--debug" in given:
            raise
        _say(f"internal error: {type(error).__name__}: {error}")
        _say("this is a fault of colmodern; run again with --debug and report the traceback")
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _say(message: str) -> None:
    click.echo(message, err=True)
