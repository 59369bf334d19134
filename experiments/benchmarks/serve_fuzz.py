"""Thousands of wrong requests to ``colmodern serve``: none may get status 500, a traceback or a path.

    python experiments/benchmarks/serve_fuzz.py --work FOLDER [--requests 10000] [--seed 0]

Half of the requests are drawn by schemathesis from /openapi.json, within its rules and against them; a
quarter are right requests with one value replaced by a nasty one; a quarter are no HTTP, or hardly: wrong
lengths, torn bodies, huge headers. The server runs in a process of its own and must live to the end. Every
error must have the documented body. A row for each part goes to experiments/results/serve_fuzz.csv; the
exit status is 1 where there is a fault.
"""

from __future__ import annotations

import copy
import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click
import requests
import schemathesis
from fuzz_requests import BASES, VALUES, as_bytes, places, put, raw_requests, send_raw
from hypothesis import HealthCheck, Phase, given, seed, settings
from passages import passages
from results import append_rows, machine_and_commit
from schemathesis import GenerationMode
from server_process import ServerProcess, colmodern_server, status_of

from colmodern import Collection, PlaidIndex

RESULTS = Path(__file__).resolve().parents[1] / "results" / "serve_fuzz.csv"
COLUMNS = ("date", "commit", "machine", "task", "seed", "requests", "seconds", "statuses", "faults")
_LEAK = re.compile(r"Traceback|File \"|site-packages|\.py\b.*line \d+|/dev/shm/|/home/|/root/")
_MOST_SHOWN = 20
Method = Callable[["Fuzz", int, int], None]


class Fuzz:
    """One server, the answers that it gave, and what is wrong with them."""

    def __init__(self, server: ServerProcess, work: Path) -> None:
        self.server = server
        self.statuses: Counter[str] = Counter()
        self.faults: list[str] = []
        self._folder = str(work.resolve())
        self.session = requests.Session()

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.server.port}"

    def check(self, what: str, answer: requests.Response) -> None:
        """Note an answer, and what is wrong with it."""
        status, content = answer.status_code, answer.content.decode("utf-8", "replace")
        is_json = "json" in answer.headers.get("content-type", "")
        self.statuses[str(status)] += 1
        fault = None
        if status >= 500 and status != 503:
            fault = f"status {status}"
        elif leak := _LEAK.search(content) or (self._folder in content or None):
            fault = f"shows {leak}"
        elif status >= 400 and not _is_error(content):
            fault = f"status {status} with another body than documented"
        elif status < 400 and is_json and content:
            try:
                json.loads(content, parse_constant=_refuse)
            except ValueError as error:
                fault = f"no JSON ({error})"
        if fault:
            self.faults.append(f"{fault}: {what[:1500]} -> {content[:300]}")


def from_schema(fuzz: Fuzz, n: int, number: int) -> None:
    """Requests that the schema allows, and others that it does not."""
    schema = schemathesis.openapi.from_url(f"{fuzz.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    tasks = [(operation, mode) for operation in operations for mode in GenerationMode]
    before = fuzz.statuses.total()
    for position, (operation, mode) in enumerate(tasks):
        left = n - (fuzz.statuses.total() - before)
        share = -(-left // (len(tasks) - position))
        names = {"name": "texts"} if "{name}" in operation.path else None
        known = (
            names if mode is GenerationMode.POSITIVE and "{doc_id}" not in operation.path else None
        )
        try:
            strategy = operation.as_strategy(generation_mode=mode, path_parameters=known)
        except Exception as error:  # an operation without anything that could be wrong
            click.echo(
                f"{operation.method} {operation.path} {mode}: {type(error).__name__}", err=True
            )
            continue

        @seed(number)
        @settings(
            max_examples=max(1, share), deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=strategy)
        def ask(case: Any) -> None:
            try:
                answer = case.call(base_url=fuzz.url, session=fuzz.session, timeout=60)
            except requests.exceptions.RequestException as error:
                fuzz.faults.append(f"no answer ({error}): {case.method} {case.formatted_path}")
                return
            body = case.body if case.method != "GET" else ""
            what = f"{case.method} {case.formatted_path} {body!r}"
            fuzz.check(what, answer)

        try:
            ask()
        except Exception as error:  # schemathesis cannot make such requests
            click.echo(f"{operation.method} {operation.path} {mode}: {error}"[:300], err=True)


def nasty_values(fuzz: Fuzz, n: int, number: int) -> None:
    """Right requests with one value, or one key, replaced."""
    rng = random.Random(number)
    for method, path, base in BASES:
        answer = fuzz.session.request(method, fuzz.url + path, json=base, timeout=60)
        if answer.status_code != 200:
            fuzz.faults.append(f"a right request is refused: {path} {base} -> {answer.text}")
    for _ in range(n):
        method, path, base = rng.choice(BASES)
        body = copy.deepcopy(base)
        for _ in range(rng.choice((1, 1, 1, 2))):
            where = rng.choice(places(body))
            body = put(body, where, rng.choice(VALUES)(rng))
        content = as_bytes(body)
        headers = {"Content-Type": "application/json"}
        try:
            answer = fuzz.session.request(
                method, fuzz.url + path, data=content, headers=headers, timeout=60
            )
        except requests.exceptions.RequestException as error:
            fuzz.faults.append(f"no answer ({error}): {method} {path} {content[:500]!r}")
            continue
        what = f"{method} {path} {content[:1000]!r}"
        fuzz.check(what, answer)


def raw_nonsense(fuzz: Fuzz, n: int, number: int) -> None:
    """Bytes that are no HTTP, or hardly; an answer is not needed, but a living server is."""
    rng = random.Random(number)
    kinds = raw_requests()
    for position in range(n):
        kind = kinds[position % len(kinds)]
        patience = 10.0 if kind.wants_answer else 0.05
        received = send_raw(
            fuzz.server.port, kind.make(rng), patience_s=patience, slowly=kind.slowly
        )
        if not received:
            fuzz.statuses["closed"] += 1
            if kind.wants_answer:
                fuzz.faults.append(f"no answer: {kind.name}")
            continue
        status = int(received[9:12]) if received[9:12].isdigit() else 0
        body = received.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
        fuzz.statuses[str(status)] += 1
        if status >= 500 and status != 503:
            fuzz.faults.append(f"status {status}: {kind.name}")
        if leak := _LEAK.search(body):
            fuzz.faults.append(f"shows {leak}: {kind.name}")
        if position % 50 == 0 and status_of(fuzz.server.port, "/ready") != 200:
            fuzz.faults.append(f"the server is not ready after {kind.name}")


PARTS: dict[str, tuple[Method, float]] = {
    "schema": (from_schema, 0.5),
    "values": (nasty_values, 0.25),
    "raw": (raw_nonsense, 0.25),
}


def _is_error(content: str) -> bool:
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return set(error) == {"code", "message", "cure"} and all(
        isinstance(value, str) and value for value in error.values()
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _prepared(work: Path) -> dict[str, Path]:
    """A collection, and an index of embeddings alone."""
    folders = {"texts": work / "texts", "vectors": work / "vectors"}
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    texts = [
        *passages(200),
        "emoji \U0001f600 and\r\nCRLF \u00e9 e\u0301",
        "<script>alert(1)</script>",
    ]
    with Collection.create(folders["texts"], "colmodern/tiny", device="cpu") as collection:
        collection.add(texts)
        embeddings = collection.encoder.encode_documents(texts[:50])
    PlaidIndex.build(embeddings, folders["vectors"], [str(i) for i in range(50)]).close()
    return folders


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--requests", "n_requests", default=10_000, show_default=True)
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), default=list(PARTS))
@click.option("--seed", "number", default=0, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(work: Path, n_requests: int, parts: tuple[str, ...], number: int, results: Path) -> None:
    """Send the requests, print what is wrong, and append a row for each part."""
    folders, rows, has_faults = _prepared(work), [], False
    log = work / "server.log"
    log.unlink(missing_ok=True)
    options = ("--set", "timeouts.body_s=2", "--set", "limits.body=1M")
    with colmodern_server(log, folders, *options) as server:
        for name in parts:
            fuzz, start = Fuzz(server, work), time.perf_counter()
            method, share = PARTS[name]
            method(fuzz, max(1, round(n_requests * share)), number)
            if status_of(server.port, "/ready") != 200:
                fuzz.faults.append("the server is not ready at the end")
            row = {
                "date": date.today().isoformat(), **machine_and_commit(), "task": name, "seed": number,
                "requests": fuzz.statuses.total(), "seconds": round(time.perf_counter() - start),
                "statuses": json.dumps(dict(sorted(fuzz.statuses.items()))), "faults": len(fuzz.faults),
            }  # fmt: skip
            rows.append(row)
            click.echo(json.dumps(row))
            for fault in fuzz.faults[:_MOST_SHOWN]:
                click.echo(f"  {fault}")
            has_faults = has_faults or bool(fuzz.faults)
    errors = [line for line in log.read_text().splitlines() if '"traceback"' in line]
    for line in errors[:_MOST_SHOWN]:
        click.echo(f"  in the log: {line[:1500]}")
    append_rows(results, rows, COLUMNS)
    if has_faults or errors:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
