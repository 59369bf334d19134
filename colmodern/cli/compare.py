"""colmodern compare BASELINE RUN [RUN ...]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from colmodern.cli import terminal
from colmodern.cli.options import OUTPUT_FILE, Decorated, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from colmodern.evaluation.comparison import Comparison
    from colmodern.pipeline.compare.stored_run import System

FORMATS = ("terminal", "markdown", "latex", "json", "html")


def comparison_options(function: Decorated) -> Decorated:
    """Add --alpha, --seed, --format (passed on as ``form``) and --output."""
    options = [
        click.option(
            "--alpha",
            default=0.05,
            show_default=True,
            help="Mark differences whose adjusted p-value is below this.",
        ),
        click.option(
            "--seed", default=0, show_default=True, help="Seed of the tests and intervals."
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(FORMATS),
            default="terminal",
            show_default=True,
            help="Form of the tables.",
        ),
        click.option("--output", "-o", type=OUTPUT_FILE, help="File to write."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command("compare")
@click.argument("baseline")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--measure",
    "-m",
    "measures",
    multiple=True,
    help="Measure, for example nDCG@10; default: the runs' measures.",
)
@click.option(
    "--common", is_flag=True, help="Compare only the data sets and queries that all runs have."
)
@click.option(
    "--qrels",
    help="Judgments of TREC runs: a file, or a collection; default: those of the run folders.",
)
@comparison_options
@json_option
def command(
    baseline: str,
    runs: tuple[str, ...],
    measures: tuple[str, ...],
    common: bool,
    qrels: str | None,
    alpha: float,
    seed: int,
    form: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Compare RUNS with BASELINE, query by query.

    Each is a run folder, a folder of run folders of several data sets, a quoted pattern of them, for
    example 'runs/mine-*', or a TREC run, which takes the judgments of the run folders. Prints
    scores, differences with their tests, the queries that changed most, and every setting, version
    and machine in which the runs differ.
    """
    from colmodern.pipeline.compare.runs import compare_runs
    from colmodern.pipeline.compare.stored_run import read_systems
    from colmodern.pipeline.compare.trec_runs import read_judged

    if as_json:
        form = "json"
    if form == "html" and output is None:
        raise click.UsageError("--format html needs --output, the page to write")
    judged = None if qrels is None else read_judged(qrels)
    systems = read_systems([baseline, *runs], judged)
    comparison = compare_runs(systems, measures=measures, common=common, alpha=alpha, seed=seed)
    if form == "terminal" and output is None:
        print_comparison(comparison)
        return
    if form == "json" and output is None:
        terminal.put_json(comparison.as_json())
        return
    terminal.put_or_write(comparison_text(comparison, systems, form), output)


def comparison_text(comparison: Comparison, systems: Sequence[System], form: str) -> str:
    """A comparison as JSON, an HTML page, LaTeX or Markdown."""
    from colmodern.report import comparison_tables as view
    from colmodern.report import tables

    if form == "json":
        import json

        return json.dumps(comparison.as_json(), indent=2, ensure_ascii=False) + "\n"
    if form == "html":
        from colmodern.pipeline.compare.page import comparison_page

        return comparison_page(comparison, systems)
    if form == "latex":  # for a paper: without the texts of queries and the recipes
        return tables.latex([*view.score_tables(comparison), view.test_table(comparison)])
    if form == "markdown":
        notes = "".join(f"\n{note}\n" for note in comparison.notes)
        return tables.markdown(view.all_tables(comparison)) + notes
    raise click.UsageError("--output needs --format: markdown, latex, json or html")


def print_comparison(comparison: Comparison) -> None:
    """Print the tables and notes of a comparison."""
    from colmodern.cli.tables import show
    from colmodern.report.comparison_tables import all_tables

    show(*all_tables(comparison))
    terminal.put_notes(comparison.notes)
