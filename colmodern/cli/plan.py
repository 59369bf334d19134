"""colmodern plan CONFIG ... [KEY=VALUE ...]."""

from __future__ import annotations

import click

from colmodern.cli import terminal
from colmodern.cli.eval import INCOMPLETE, paths_and_overrides
from colmodern.cli.options import json_option


@click.command("plan")
@click.argument("arguments", nargs=-1, metavar="CONFIG... [KEY=VALUE]...")
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Sets to plan, for example 'beir/cqa*'."
)
@click.option("--sample", default=1000, show_default=True, help="Documents to count tokens in.")
@click.option("--seed", default=0, show_default=True, help="Seed of that sample.")
@click.option(
    "--no-timing", is_flag=True, help="Do not time encoding, building and searching a small sample."
)
@click.option(
    "--cluster",
    is_flag=True,
    help="Plan the machines of a large collection instead, for example passages=1000000000 nbits=2.",
)
@json_option
def command(
    arguments: tuple[str, ...],
    only: tuple[str, ...],
    sample: int,
    seed: int,
    no_timing: bool,
    cluster: bool,
    as_json: bool,
) -> int:
    """Estimate what the evaluations that CONFIG defines will take, before they run.

    Prints tokens (counted in a sample, with an interval), bytes on disk of embeddings and of an index
    at every number of bits, memory and time of each stage. CONFIG and KEY=VALUE are those of
    `colmodern eval`. With max_memory=8G, here or in the config, it says whether that is enough and which
    settings fit; the exit status is 3 if something does not fit.

    With --cluster there is no CONFIG. It prints bytes, machines, hours and latencies of a collection
    that many machines hold, from measured rates and a simulation. The reference lists its settings.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import show
    from colmodern.config.suite import load_suite
    from colmodern.errors import DataError
    from colmodern.pipeline.open.data import fetch_commands
    from colmodern.pipeline.open.encoder import LoadedEncoders
    from colmodern.pipeline.open.job import load
    from colmodern.pipeline.plan import view
    from colmodern.pipeline.plan.plan import make_plan

    if cluster:
        return _plan_cluster(arguments, as_json=as_json)
    if not arguments:
        raise click.UsageError("give the CONFIG to plan, or --cluster")
    if sample < 1:
        raise click.UsageError(f"--sample {sample}: count at least 1 document")
    paths, overrides = paths_and_overrides(arguments, "eval")
    members = load_suite(paths, overrides, only=only)
    if missing := fetch_commands([member.config.dataset for member in members]):
        raise DataError(f"fetch the data sets first: {' && '.join(missing)}")
    plans, encoders = [], LoadedEncoders()
    with TerminalProgress() as progress:
        for member in members:
            prepared = load(member.config, encoders, progress=progress)
            plans.append(
                make_plan(prepared, size=sample, seed=seed, timed=not no_timing, progress=progress)
            )
    if as_json:
        terminal.put_json([plan.as_json() for plan in plans])
    else:
        is_single = len(plans) == 1
        tables = [view.counts_table(plans[0]), view.stages_table(plans[0])] if is_single else []
        show(*(tables or [view.suite_table(plans)]))
    verdicts = [text for plan in plans if (text := view.verdict(plan))]
    for text in verdicts:
        terminal.say(text)
    return INCOMPLETE if verdicts else 0


def _plan_cluster(arguments: tuple[str, ...], *, as_json: bool) -> int:
    """Plan many machines; all arguments are settings."""
    from colmodern.cli.plan_cluster import print_cluster_plan

    for argument in arguments:
        if "=" not in argument:
            raise click.UsageError(f"--cluster takes settings as KEY=VALUE, not {argument}")
    print_cluster_plan(arguments, as_json=as_json)
    return 0
