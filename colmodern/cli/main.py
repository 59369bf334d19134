"""The ``colmodern`` command: thin, and quick to start because each command loads its own modules."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from importlib import import_module

import click

from colmodern.cli import terminal
from colmodern.errors import ColmodernError

# name -> the module whose ``command`` it is, and its help in one line
_COMMANDS = {
    "eval": ("colmodern.cli.eval", "Run an evaluation from a config file."),
    "plan": (
        "colmodern.cli.plan",
        "Estimate what an evaluation takes: tokens, disk, memory, time.",
    ),
    "reproduce": (
        "colmodern.cli.reproduce",
        "Compare a published score with the one obtained here.",
    ),
    "recipes": ("colmodern.cli.recipes", "List the built-in recipes, or print one."),
    "fetch": ("colmodern.cli.fetch", "Fetch data sets by name, to be used offline."),
    "compare": (
        "colmodern.cli.compare",
        "Compare runs: paired tests, and what their recipes change.",
    ),
    "evaluate": (
        "colmodern.cli.evaluate",
        "Measure and compare TREC runs of any tool.",
    ),
    "sweep": (
        "colmodern.cli.sweep",
        "Measure many settings: a table, and the best for their cost.",
    ),
    "encode": ("colmodern.cli.encode", "Encode a collection into a folder of token embeddings."),
    "collection": (
        "colmodern.cli.collection",
        "Make and change a collection: texts, model and index in one folder.",
    ),
    "search": ("colmodern.cli.search", "Search a collection, a run or token embeddings."),
    "explain": (
        "colmodern.cli.explain",
        "Say why a search finds a document, or does not, in words or as a page.",
    ),
    "index": ("colmodern.cli.index", "Build, change and inspect a compressed index."),
    "rerank": ("colmodern.cli.rerank", "Reorder a TREC run by exact MaxSim."),
    "serve": ("colmodern.cli.serve", "Serve search, rerank and encode over HTTP."),
    "fuse": ("colmodern.cli.fuse", "Fuse TREC runs of the same queries into one."),
    "train": ("colmodern.cli.train", "Train a model through PyLate from a config file."),
    "mine": ("colmodern.cli.mine", "Find hard negatives for training, with a teacher's scores."),
    "cache": ("colmodern.cli.cache", "List and prune what earlier evaluations left to be reused."),
    "warmup": ("colmodern.cli.warmup", "Compile the kernels of searches and builds ahead of time."),
    "info": (
        "colmodern.cli.info",
        "Describe this machine, a model, a collection, an index or a run.",
    ),
}
_READER_GONE = 141  # exit status that shells give a program ended by SIGPIPE
_WITH_MODEL = (
    *("eval", "plan", "reproduce", "sweep", "encode", "collection", "search", "explain"),
    *("rerank", "serve", "train", "mine"),
)
_BUSY = 0.5  # load of the machine, as a share of its CPUs, from which on others need them
# commands that keep what they finished and resume from it
_RESUMED = ("eval", "reproduce", "fetch", "sweep", "encode", "train", "mine")


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        if name in _WITH_MODEL:
            if name != "serve":  # it tells OpenMP itself
                _let_threads_sleep()
            from colmodern.pipeline.machine_faults import PYTORCH, check_address_space

            check_address_space(PYTORCH, f"colmodern {name} loads PyTorch, which")
        command: click.Command = import_module(_COMMANDS[name][0]).command
        _offer_debug(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _let_threads_sleep() -> None:
    """Have OpenMP's threads sleep while they wait, where other programs keep this machine busy.

    Threads that spin are faster alone, and much slower beside programs that need the same CPUs. PyTorch
    reads the variable when it is loaded; a value that the user has set stays.
    """
    with suppress(AttributeError, OSError):  # not every system tells its load
        if os.getloadavg()[0] > _BUSY * (os.cpu_count() or 1):
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _offer_debug(command: click.Command) -> None:
    """Accept --debug after the command too, and after the commands of a group."""
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
    """Run the command line and exit with a status.

    0: done. 1: a bug of colmodern. 2: an error that the caller can fix. 3: the work ended and some of
    it failed. 130: interrupted, as shells expect. 141: the reader of the output ended first.
    """
    words = sys.argv[1:] if arguments is None else arguments
    terminal.prepare_streams()
    terminal.prepare_logging()
    try:
        os.getcwd()
    except FileNotFoundError:  # libraries would end the process without a reason
        terminal.say("error: the current folder was deleted; cd to another")
        sys.exit(2)
    try:
        status = _run(words)
    except MemoryError as error:  # also a ResourceError, with --debug
        if isinstance(error, ColmodernError) or "--debug" in words:
            raise
        status = _no_memory()
    try:
        terminal.flush()
    except OSError as error:
        status = _output_failed(error)
        terminal.give_up_output()
    sys.exit(status)


def _run(words: list[str]) -> int:
    """Exit status of a command; messages are printed."""
    try:
        status: object = cli.main(words, standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        terminal.say(f"interrupted; {_how_to_resume(words)}")
        return 130
    except click.ClickException as error:
        message = io.StringIO()
        error.show(file=message)
        terminal.say(message.getvalue().rstrip("\n"))
        return 2
    except ColmodernError as error:
        if "--debug" in words:
            raise
        terminal.say(f"error: {error}")
        return 2
    except SystemExit as ended:
        # click ends like this when the reader of its output has gone
        return _READER_GONE if terminal.is_reader_gone() else _status(ended.code)
    except Exception as error:
        return _other(error, is_debugging="--debug" in words)
    return _status(status)


def _other(error: Exception, *, is_debugging: bool) -> int:
    """Report an unexpected error: a fault of the machine where it is known, else a bug."""
    if isinstance(error, BrokenPipeError) and terminal.is_reader_gone():
        return _READER_GONE
    if is_debugging:
        raise error
    from colmodern.pipeline.machine_faults import explain_fault

    if reason := explain_fault(error):
        terminal.say(f"error: {reason}")
        return 2
    terminal.say(f"internal error: {type(error).__name__}: {error}")
    terminal.say("this is a bug of colmodern; run again with --debug and report the traceback")
    return 1


def _no_memory() -> int:
    """Report that memory ran out, without allocating any."""
    with suppress(OSError):
        os.write(2, b"error: out of memory; finished work is kept: free memory or raise the ")
        os.write(2, b"limit (ulimit -v, the container's), then run again\n")
    return 2


def _output_failed(error: OSError) -> int:
    """Exit status when stdout or stderr cannot be written; a reader that ended is no error."""
    if terminal.is_reader_gone():
        return _READER_GONE
    with suppress(OSError):
        terminal.say(f"error: the output cannot be written: {error.strerror or error}")
    return 2


def _how_to_resume(words: list[str]) -> str:
    """What an interrupted command left behind, and what to do next."""
    names = [name for name in words if not name.startswith("-")]
    if names[:2] == ["index", "build"] or names[:1] in [[name] for name in _RESUMED]:
        return "finished work is kept: run the same command again to resume"
    if names[:1] == ["index"]:
        return "the index is unchanged or the change is complete: colmodern index info says which"
    if names[:1] == ["collection"]:
        return "the collection is unchanged or the change is complete: colmodern info says which"
    return "nothing is left half-written: run the same command again to start over"


def _status(status: object) -> int:
    return status if isinstance(status, int) else 0
