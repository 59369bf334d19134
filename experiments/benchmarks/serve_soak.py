"""A long run of ``colmodern serve`` with searchers, a writer and restarts: 0 wrong, 0 lost answers.

    python experiments/benchmarks/serve_soak.py --work FOLDER [--minutes 20]

The writer adds, replaces and deletes documents whose texts are known, through the server, and every
tenth time with the library in this process, as another process would. It notes which documents each version
of the index has. Searchers ask for texts of these documents; every answer names its version, and is right
when all of its results are documents of that version with their texts, best first, and a document that is
asked for with its own words is among them exactly where that version has it. In the middle, and after each
quarter with --restarts 3, the server gets SIGTERM and is started again. Clients retry where the connection is
refused or the answer is 503 or 429, and nowhere else. A row goes to experiments/results/serve_soak.csv;
the exit status is 1 where an answer is wrong or lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from collection_adds import own_mb
from passages import passages
from patient_client import LostError, PatientClient
from results import append_rows, machine_and_commit
from server_process import ServerProcess, colmodern_server, free_port

from colmodern import Collection

RESULTS = Path(__file__).resolve().parents[1] / "results" / "serve_soak.csv"
COLUMNS = (
    "date", "commit", "machine", "load", "minutes", "searchers", "searches", "ms_p50", "ms_p99",
    "changes", "changes_outside", "versions_seen", "restarts", "down_s", "retried", "wrong", "lost",
    "checked_present", "checked_absent", "start_mb", "end_mb", "n_docs", "note",
)  # fmt: skip
PATH = "/v1/indexes/soak"
_N_PLANTED = 300
_K = 5
_PAUSE_S = 0.5  # between two changes
_OUTSIDE = 10  # one change in so many is made by this process, not by the server
Versions = dict[str, int]  # doc_id -> version of its text, for the documents that are planted now


class Search(NamedTuple):
    """A search and its answer, checked at the end."""

    doc_id: str
    version: int  # the text whose words the query has
    index_version: str
    hits: list[tuple[str, float, str]]  # id, score, text


class Soak:
    """What searchers and the writer share."""

    def __init__(self, folder: Path, port: int, base: dict[str, str]) -> None:
        self.folder, self.port, self.base = folder, port, base
        self.words = sorted(
            {word for text in base.values() for word in text.split() if word.isalpha()}
        )
        self.planted: Versions = {}
        self.newest: Versions = dict.fromkeys((f"planted-{i}" for i in range(_N_PLANTED)), 0)
        self.states: dict[str, Versions] = {}
        self.searches: list[Search] = []
        self.latencies: list[float] = []
        self.lost: list[str] = []
        self.clients: list[PatientClient] = []
        self.n_changes = self.n_outside = 0
        self.is_over = False

    def client(self) -> PatientClient:
        """A client of the server."""
        self.clients.append(PatientClient(self.port))
        return self.clients[-1]

    def text(self, doc_id: str, version: int) -> str:
        """The text of a planted document: 24 words that follow from its id and version."""
        return " ".join(random.Random(f"{doc_id} {version}").choices(self.words, k=24))

    async def search(self, seed: int) -> None:
        """Search again and again, mostly for what is there."""
        rng, client = random.Random(seed), self.client()
        while not self.is_over:
            doc_id = rng.choice(sorted(self.newest))
            version = max(0, self.newest[doc_id] - (rng.random() < 0.2))
            words = self.text(doc_id, version).split()[:10]
            body = {"queries": [" ".join(words)], "k": _K, "spans": rng.random() < 0.3}
            start = time.perf_counter()
            try:
                answer = await client.ask("POST", f"{PATH}/search", body)
            except LostError as error:
                self.lost.append(str(error))
                continue
            if answer.status != 200:
                self.lost.append(f"{answer.status} {answer.content}")
                continue
            self.latencies.append(1000 * (time.perf_counter() - start))
            hits = answer.content["results"][0]["hits"]
            kept = [(hit["id"], hit["score"], hit["text"]) for hit in hits]
            self.searches.append(Search(doc_id, version, answer.content["index_version"], kept))

    async def write(self) -> None:
        """Change the index again and again, and note what each version of it has."""
        rng, client = random.Random(0), self.client()
        while not self.is_over:
            after = dict(self.planted)
            ids = rng.sample(sorted(self.newest), rng.randint(1, 5))
            present = [doc_id for doc_id in ids if doc_id in after]
            deletes = bool(present) and rng.random() < 0.4
            if deletes:
                for doc_id in present:
                    del after[doc_id]
            else:
                for doc_id in ids:
                    self.newest[doc_id] += 1
                    after[doc_id] = self.newest[doc_id]
            texts = {doc_id: self.text(doc_id, after[doc_id]) for doc_id in ids if doc_id in after}
            try:
                if self.n_changes % _OUTSIDE == _OUTSIDE - 1:
                    version = await asyncio.to_thread(
                        self._change_here, present if deletes else [], {} if deletes else texts
                    )
                    self.n_outside += 1
                elif deletes:
                    version = await self._send(client, "DELETE", {"ids": present})
                else:
                    records = [{"id": doc_id, "text": text} for doc_id, text in texts.items()]
                    version = await self._send(client, "PUT", {"documents": records})
            except LostError as error:
                self.lost.append(str(error))
                return  # what the index has now is not known
            self.n_changes += 1
            self.planted = after
            self.states[version] = after
            await asyncio.sleep(_PAUSE_S * rng.random())

    async def _send(self, client: PatientClient, method: str, body: Any) -> str:
        """Make a change through the server; the version of the index after it."""
        while True:
            answer = await client.ask(method, f"{PATH}/documents", body, repeats=False)
            if answer.status == 200:
                return str(answer.content["index_version"])
            if answer.status != 409:  # busy: this process is the other writer, or was
                raise LostError(f"{method} {answer.status} {answer.content}")
            await asyncio.sleep(0.1)

    def _change_here(self, deleted: list[str], texts: dict[str, str]) -> str:
        with Collection.open(self.folder, device="cpu") as collection:
            if deleted:
                collection.delete(deleted)
            else:
                collection.update(texts)
            return collection.version

    def faults(self) -> tuple[list[str], Counter[str]]:
        """What is wrong with the answers, and how many of each kind were checked."""
        wrong, checked = [], Counter[str]()
        for search in self.searches:
            fault = self._fault(search, checked)
            if fault:
                wrong.append(f"{search.doc_id} version {search.version}: {fault}")
        return wrong, checked

    def _fault(self, search: Search, checked: Counter[str]) -> str:
        planted = self.states.get(search.index_version)
        if planted is None:
            return f"no change made the version {search.index_version[:12]}"
        ids = [doc_id for doc_id, _, _ in search.hits]
        scores = [score for _, score, _ in search.hits]
        if len(set(ids)) != _K or scores != sorted(scores, reverse=True):
            return f"results repeat, lack or are not in order: {ids} {scores}"
        for doc_id, _, text in search.hits:
            known = self.base.get(doc_id)
            if doc_id in planted:
                known = self.text(doc_id, planted[doc_id])
            if text != known:
                return f"{doc_id} has a text that this version has not: {text[:60]!r}"
        if planted.get(search.doc_id) == search.version:
            checked["present"] += 1
            if ids[0] != search.doc_id:
                return f"is not the first result for its own words: {ids}"
        elif search.doc_id not in planted:
            checked["absent"] += 1
        return ""


async def _restart(
    server: ServerProcess, soak: Soak, log: Path, seconds: float
) -> tuple[ServerProcess, float]:
    """End the server after some seconds, and start another; it and the seconds without one."""
    await asyncio.sleep(seconds)
    server.terminate()
    code = await asyncio.to_thread(server.wait)
    down = time.perf_counter()
    if code != 0:
        soak.lost.append(f"the server ended with status {code}")
    after = await asyncio.to_thread(_start, log, soak.folder, soak.port)
    return after, time.perf_counter() - down


def _start(log: Path, folder: Path, port: int) -> ServerProcess:
    return colmodern_server(log, {"soak": folder}, "--set", "refresh_s=0.2", port=port)


async def _run(
    soak: Soak, log: Path, minutes: float, n_searchers: int, restarts: int
) -> dict[str, Any]:
    server = await asyncio.to_thread(_start, log, soak.folder, soak.port)
    try:
        tasks = [asyncio.create_task(soak.search(seed)) for seed in range(n_searchers)]
        tasks.append(asyncio.create_task(soak.write()))
        await asyncio.sleep(min(20.0, 6 * minutes))  # until memory is that of work
        start_mb, down = own_mb(server.pid), []
        for _ in range(restarts):
            server, seconds = await _restart(server, soak, log, 60 * minutes / (restarts + 1))
            down.append(seconds)
        await asyncio.sleep(60 * minutes / (restarts + 1))
        soak.is_over = True
        await asyncio.gather(*tasks)
        end_mb = own_mb(server.pid)
    finally:
        server.end()
    for client in soak.clients:
        client.close()
    return {
        "restarts": restarts, "down_s": round(max(down, default=0.0), 1),
        "start_mb": round(start_mb), "end_mb": round(end_mb),
    }  # fmt: skip


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--minutes", default=20.0, show_default=True)
@click.option("--searchers", default=8, show_default=True)
@click.option("--restarts", default=1, show_default=True)
@click.option("--n-docs", default=2000, show_default=True, help="that never change")
@click.option("--note", default="")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    work: Path,
    minutes: float,
    searchers: int,
    restarts: int,
    n_docs: int,
    note: str,
    results: Path,
) -> None:
    """Run, check every answer, and append a row."""
    folder, log = work / "soak", work / "soak.log"
    shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    base = {f"base-{number}": text for number, text in enumerate(passages(n_docs))}
    with Collection.create(folder, "colmodern/tiny", device="cpu") as collection:
        collection.add(base, progress=True)
        version = collection.version
    soak = Soak(folder, free_port(), base)
    soak.states[version] = {}
    facts = asyncio.run(_run(soak, log, minutes, searchers, restarts))
    wrong, checked = soak.faults()
    retried = sum((client.retries for client in soak.clients), Counter[str]())
    row = {
        "date": date.today().isoformat(), **machine_and_commit(), "load": round(os.getloadavg()[0], 1),
        "minutes": minutes, "searchers": searchers, "searches": len(soak.searches),
        "ms_p50": round(float(np.percentile(soak.latencies, 50)), 1),
        "ms_p99": round(float(np.percentile(soak.latencies, 99)), 1),
        "changes": soak.n_changes, "changes_outside": soak.n_outside,
        "versions_seen": len({search.index_version for search in soak.searches}),
        "retried": json.dumps(retried), "wrong": len(wrong), "lost": len(soak.lost),
        "checked_present": checked["present"], "checked_absent": checked["absent"],
        "n_docs": n_docs, "note": note, **facts,
    }  # fmt: skip
    click.echo(json.dumps(row, indent=1))
    for fault in [*wrong[:20], *soak.lost[:20]]:
        click.echo(fault)
    append_rows(results, [row], COLUMNS)
    if wrong or soak.lost:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
