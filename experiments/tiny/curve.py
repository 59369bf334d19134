"""Draw the training of the tiny model: its losses over tokens and steps.

python curve.py OUT.png --align LOG.csv ... --rank LOG.csv ...

--align: logs of train.py, one after another; --rank: logs of rank.py
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib.pyplot as plt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--align", type=Path, nargs="+", required=True)
    parser.add_argument("--rank", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    seen = 0.0
    for number, path in enumerate(options.align):
        rows = read(path)
        tokens = [seen + float(row["tokens"]) / 1e6 for row in rows]
        left.plot(tokens, column(rows, "loss"), color="C0", label=None if number else "training")
        held = [
            (x, float(row["held_out"]))
            for x, row in zip(tokens, rows, strict=True)
            if row["held_out"]
        ]
        held_steps, values = [x for x, _ in held], [y for _, y in held]
        left.plot(held_steps, values, ".-", color="C1", label=None if number else "held out")
        seen = tokens[-1]
    left.set(xlabel="million tokens", ylabel="1 - cosine to the teacher", title="first stage")
    left.legend()
    seen = 0.0
    for path in options.rank:
        rows = read(path)
        steps = [seen + float(row["step"]) for row in rows]
        right.plot(steps, column(rows, "divergence"), color="C0")
        seen = steps[-1]
    right.set(xlabel="steps", ylabel="divergence from the teacher's ranking", title="second stage")
    figure.tight_layout()
    figure.savefig(options.out, dpi=110)


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a log."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> list[float]:
    """Numbers of a column."""
    return [float(row[name]) for row in rows]


if __name__ == "__main__":
    main()
