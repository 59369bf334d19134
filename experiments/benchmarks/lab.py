"""What an evaluation costs beside encoding, building and searching; its values beside trec_eval's.

    python experiments/benchmarks/lab.py RUN_FOLDER...

Time is the run's own (timings.json): a run whose stages were reused is refused. Every query's value
of every measure is computed anew from run.trec and qrels.trec by pytrec_eval, which shares no
code with colmodern. Rows go to experiments/results/lab.csv.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import click
import ir_measures
from ir_measures.providers import PytrecEvalProvider
from results import Row, append_rows, machine_and_commit

from colmodern.evaluation.measures import evaluate
from colmodern.evaluation.trec import read_qrels, read_run
from colmodern.pipeline.result import EVERYTHING_ELSE

RESULTS = Path(__file__).resolve().parents[1] / "results" / "lab.csv"
COLUMNS = (
    *("date", "commit", "machine", "run", "documents", "queries", "seconds", "encode_s", "build_s"),
    *("search_s", "load_model_s", "lab_s", "lab_share", "values_checked", "largest_difference"),
)
LAB = ("compare", "measure", "load data", EVERYTHING_ELSE)
TOLERANCE = 1e-6


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--reused", is_flag=True, help="Check values only, of runs that reused stages.")
def main(runs: tuple[Path, ...], reused: bool) -> None:
    """A row for each run; the exit status is 1 where a value differs."""
    differs = False
    for run in runs:
        metrics = json.loads((run / "metrics.json").read_text())
        checked, largest = compare_with_trec_eval(run)
        row: Row = {
            "date": date.today().isoformat(),
            **machine_and_commit(),
            "run": run.name,
            "documents": metrics["documents"],
            "queries": metrics["queries"],
            **({} if reused else times(run)),
            "values_checked": checked,
            "largest_difference": f"{largest:.1e}",
        }
        differs |= largest > TOLERANCE
        append_rows(RESULTS, [row], COLUMNS)
        print({name: row.get(name) for name in COLUMNS[3:]}, flush=True)
    sys.exit(differs)


def times(run: Path) -> Row:
    """Seconds of a run by what they were for."""
    timings = json.loads((run / "timings.json").read_text())
    if again := [name for name, timing in timings.items() if timing["reused"]]:
        raise click.ClickException(
            f"{run} reused {', '.join(again)}; run it with output=NEW_FOLDER"
        )
    seconds = {name: timing["seconds"] for name, timing in timings.items()}
    total, lab = sum(seconds.values()), sum(seconds.get(name, 0.0) for name in LAB)
    return {
        "seconds": f"{total:.1f}",
        "encode_s": f"{seconds['encode documents'] + seconds['encode queries']:.1f}",
        "build_s": f"{seconds.get('build index', 0.0):.1f}",
        "search_s": f"{seconds['search'] + seconds.get('exact search', 0.0):.2f}",
        "load_model_s": f"{seconds.get('load model', 0.0):.2f}",
        "lab_s": f"{lab:.2f}",
        "lab_share": f"{lab / total:.4f}",
    }


def compare_with_trec_eval(run: Path) -> tuple[int, float]:
    """How many values were compared, and their largest difference."""
    rows = [json.loads(line) for line in (run / "per_query.jsonl").read_text().splitlines()]
    ours = {row["query_id"]: row for row in rows}
    qrels, run_results = read_qrels(run / "qrels.trec"), read_run(run / "run.trec")
    names = list(json.loads((run / "metrics.json").read_text())["measures"])
    # trec_eval has no cut reciprocal rank: a run cut there has the same value
    largest, checked = 0.0, 0
    provider = PytrecEvalProvider()
    for name in names:
        measure, depth = ir_measures.parse_measure(name), None
        if not provider.supports(measure):
            depth = measure.params.pop("cutoff")
        scored = {q: dict(docs[:depth]) for q, docs in run_results.items()}
        theirs = dict.fromkeys(qrels, 0.0)
        for metric in provider.iter_calc([measure], {q: dict(g) for q, g in qrels.items()}, scored):
            theirs[metric.query_id] = metric.value
        differences = [abs(theirs[query] - ours[query][name]) for query in qrels]
        largest, checked = max(largest, *differences), checked + len(differences)
    assert evaluate(run_results, qrels, names).mean  # the run can be read back whole
    return checked, largest


if __name__ == "__main__":
    main()
