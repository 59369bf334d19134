"""How far a value travels: the calls, files and returns of four flows, counted while they run.

    python experiments/structure/walk.py
    PYTHONPATH=/tmp/before python experiments/structure/walk.py --csv before.csv

A call is a pair of functions of the package of which one calls the other, counted once however often it
does. A crossing is a call into another file. A return is a crossing into a file that the flow had entered
before. Compiled kernels are one function each. Lambdas and comprehensions count as their function.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import click
import numpy as np

COLUMNS = ("flow", "functions", "calls", "files", "crossings", "returns")
TEXTS = [f"A sentence about the number {i} and what follows it." for i in range(64)]


class Walk:
    """Counts of one flow, of all threads of this process."""

    def __init__(self, package: Path) -> None:
        self._package = str(package)
        self._calls: set[tuple[CodeType, CodeType]] = set()
        self._files: set[str] = set()
        self.n_crossings = 0
        self.n_returns = 0

    def follow(self, flow: Callable[[], Any]) -> dict[str, int]:
        """Run a flow and count what it calls."""
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        try:
            flow()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
        functions = {callee for _, callee in self._calls}
        return {
            "functions": len(functions),
            "calls": len(self._calls),
            "files": len(self._files),
            "crossings": self.n_crossings,
            "returns": self.n_returns,
        }

    def _on_event(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not self._is_function(code):
            return
        caller = frame.f_back
        while caller is not None and not self._is_function(caller.f_code):
            caller = caller.f_back
        if caller is None or (caller.f_code, code) in self._calls:
            return
        self._calls.add((caller.f_code, code))
        if caller.f_code.co_filename != code.co_filename:
            self.n_crossings += 1
            self.n_returns += code.co_filename in self._files
        self._files.add(code.co_filename)

    def _is_function(self, code: CodeType) -> bool:
        return code.co_filename.startswith(self._package) and not code.co_name.startswith("<")


def flows(folder: Path) -> dict[str, Callable[[], Any]]:
    """The four flows, each run once before so that nothing is imported or compiled on the way."""
    from colmodern import Encoder, PlaidIndex
    from colmodern.cli.main import cli

    encoder = Encoder.from_pretrained("colmodern/tiny", device="cpu")
    embeddings = encoder.encode_documents(TEXTS)
    ids = [str(i) for i in range(len(TEXTS))]
    query = np.asarray(encoder.encode_queries(["a number"])[0], dtype=np.float32)
    folders = iter(range(1000))

    def build() -> None:
        PlaidIndex.build(embeddings, folder / f"index-{next(folders)}", ids)

    def evaluate() -> None:
        output = f"output={folder / f'run-{next(folders)}'}"
        with redirect_stdout(StringIO()):
            cli.main(["eval", "demo", output], standalone_mode=False)

    build()
    index = PlaidIndex.load(folder / "index-0", n_threads=1)
    return {
        "Encoder.encode_documents(texts)": lambda: encoder.encode_documents(TEXTS),
        "PlaidIndex.search(query)": lambda: index.search(query),
        "colmodern eval demo": evaluate,
        "PlaidIndex.build(embeddings, folder)": build,
    }


@click.command()
@click.option("--csv", "path", type=click.Path(path_type=Path), help="Write the rows to a file.")
def main(path: Path | None) -> None:
    """Count the calls, files and returns of four flows."""
    import colmodern

    package = Path(colmodern.__file__).parent
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="walk-") as name:
        for flow, run in flows(Path(name)).items():
            run()
            rows.append({"flow": flow, **Walk(package).follow(run)})
            click.echo("  ".join(f"{column} {rows[-1][column]}" for column in COLUMNS))
    if path is not None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
