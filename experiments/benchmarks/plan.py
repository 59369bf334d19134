"""A plan beside the run that it is of.

    python experiments/benchmarks/plan.py CONFIG --set SET --work FOLDER [KEY=VALUE ...]

Plans one data set of a config, then evaluates it into the empty FOLDER, each in a process of its own.
Peak memory is the process's own pages, looked at ten times a second. Rows go to
experiments/results/plan.csv: planned, real, and how far off the plan was.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import click
from results import Row, append_rows, machine_and_commit

RESULTS = Path(__file__).resolve().parents[1] / "results" / "plan.csv"
COLUMNS = ("date", "commit", "machine", "run", "figure", "planned", "low", "high", "real", "off")


@click.command()
@click.argument("config")
@click.argument("settings", nargs=-1)
@click.option("--set", "row", required=True)
@click.option("--work", required=True, type=click.Path(path_type=Path))
def main(config: str, settings: tuple[str, ...], row: str, work: Path) -> None:
    """Plan, run, compare."""
    if work.exists():
        raise click.ClickException(f"{work} is there already; the run has to make everything anew")
    arguments = [config, "--only", row, f"output={work}", *settings]
    command = [sys.executable, "-m", "colmodern"]
    printed = subprocess.run(
        [*command, "plan", *arguments, "--json"], check=True, capture_output=True, text=True
    )
    [plan] = json.loads(printed.stdout)
    peak = run_and_watch([*command, "eval", *arguments])
    figures = real_figures(work / plan["name"], peak)
    common = {"date": date.today().isoformat(), **machine_and_commit(), "run": plan["name"]}
    rows = []
    for name, (planned, real) in planned_and_real(plan, figures).items():
        value, low, high = planned
        off = f"{value / real - 1:+.1%}"
        told_as = {
            key: f"{v:.6g}"
            for key, v in zip(("planned", "low", "high"), (value, low, high), strict=True)
        }
        rows.append({**common, "figure": name, **told_as, "real": f"{real:.6g}", "off": off})
        print(name, told_as["planned"], f"{real:.6g}", off, flush=True)
    append_rows(RESULTS, rows, COLUMNS)


def run_and_watch(command: list[str]) -> int:
    """The most bytes of its own that a process had."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak, page = 0, resource.getpagesize()
    while process.poll() is None:
        try:
            _, resident, shared, *_ = map(
                int, Path(f"/proc/{process.pid}/statm").read_text().split()
            )
            peak = max(peak, (resident - shared) * page)
        except (OSError, ValueError):
            pass  # it has just ended
        time.sleep(0.1)
    if process.returncode:
        raise click.ClickException(f"the evaluation ended with {process.returncode}")
    return peak


def real_figures(run: Path, peak: int) -> Row:
    """What the run took, by the names of a plan."""
    metrics = json.loads((run / "metrics.json").read_text())
    timings = json.loads((run / "timings.json").read_text())
    seconds = {name: timing["seconds"] for name, timing in timings.items()}
    figures = {"tokens": metrics["tokens"], "embeddings": metrics["bytes"], "peak memory": peak}
    if "index" in metrics:
        figures["index"] = metrics["index"]["bytes"]["total"]
        figures["build index, s"] = seconds["build index"]
        figures["exact search, s"] = seconds["exact search"]
    figures["search, s"] = seconds["search"]
    figures["encode, s"] = seconds["encode documents"] + seconds["encode queries"]
    return figures


def planned_and_real(plan: Row, real: Row) -> dict[str, tuple[tuple[float, float, float], float]]:
    """Figure -> (value, low, high) and what it was."""

    def of(total: Row) -> tuple[float, float, float]:
        return total["value"], total["low"], total["high"]

    planned = {"tokens": of(plan["tokens"]), "embeddings": of(plan["disk"]["embeddings"])}
    planned["peak memory"] = (plan["peak_memory"],) * 3
    if plan["nbits"] is not None:
        planned["index"] = of(plan["disk"][f"index, {plan['nbits']} bits"])
    planned |= {f"{stage}, s": of(seconds) for stage, seconds in plan["seconds"].items()}
    return {name: (planned[name], real[name]) for name in planned}


if __name__ == "__main__":
    main()
