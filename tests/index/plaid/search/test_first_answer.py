"""Single searches are answered while kernels compile; what has to be uniform waits, and says so."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from index.plaid.corpora import corpus, lengths_like_passages, names

from colmodern import PlaidIndex
from colmodern.errors import ConfigError
from colmodern.index.plaid.search import first_answer
from colmodern.index.plaid.search.first_answer import SearchKind
from colmodern.index.plaid.search.request import Query, SearchRequest
from colmodern.kernels.cpu import ready
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.writer_lock import writer_lock

N = 400
DOCUMENTS = corpus(lengths_like_passages(N), 32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("i") / "i"
    PlaidIndex.build(DOCUMENTS, path, names(N))
    return path


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The kinds of search that another process would compile; nothing is in the cache."""
    kinds: list[Any] = []

    def start(folder: Path, view: Any, kind: Any) -> bool:
        kinds.append(kind)
        return True

    monkeypatch.setattr(ready, "kept_in", lambda: tmp_path)
    monkeypatch.setattr(first_answer, "_start", start)
    return kinds


@pytest.fixture
def portable(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of the queries that NumPy answered."""
    answered: list[int] = []
    answer = SearchRequest.portably

    def portably(request: SearchRequest, query: Query) -> Any:
        answered.append(len(query.values))
        return answer(request, query)

    monkeypatch.setattr(SearchRequest, "portably", portably)
    return answered


def query_of(n_tokens: int) -> np.ndarray:
    query = np.random.default_rng(n_tokens).normal(size=(n_tokens, 32)).astype(np.float32)
    return query / np.linalg.norm(query, axis=1, keepdims=True)


def test_a_single_search_is_answered_while_kernels_compile(
    path: Path, started: list[Any], portable: list[int]
) -> None:
    index = PlaidIndex.load(path, while_compiling="answer")
    first = index.search(query_of(5))
    assert portable == [5]
    assert started == [SearchKind(is_one_call=True, is_rescored=False)]
    index.search(query_of(20))  # the same kernels serve every number of query tokens
    assert started == [SearchKind(is_one_call=True, is_rescored=False)] * 2

    # what that process does at its end
    ready.mark_ready(started[0].key(index._state.view))
    again = index.search(query_of(5))
    assert portable == [5, 20]
    assert [doc.doc_id for doc in again] == [doc.doc_id for doc in first]
    np.testing.assert_allclose(
        [doc.score for doc in again], [doc.score for doc in first], rtol=1e-5
    )


def test_a_search_with_candidates_waits_for_the_kernels_of_its_steps(
    path: Path, started: list[Any], portable: list[int]
) -> None:
    index = PlaidIndex.load(path, while_compiling="answer")
    found = index.search(query_of(5), nprobe=1, n_candidates=50, candidates_from=names(N))
    assert (started, portable) == ([SearchKind(is_one_call=False, is_rescored=False)], [5])
    scanned = index.search(query_of(5), n_candidates=50)
    assert [hit.doc_id for hit in found] == [hit.doc_id for hit in scanned]


def test_what_has_to_be_uniform_waits_and_says_so(
    path: Path, started: list[Any], portable: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    index = PlaidIndex.load(path, while_compiling="answer")
    queries = TokenEmbeddings(query_of(30), np.array([0, 5, 30]))
    with caplog.at_level(logging.WARNING):
        index.search_batch(queries)
    assert caplog.text.count("waiting for search kernels") == 1
    index.search(query_of(5))  # the batch has compiled it
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        PlaidIndex.load(path, while_compiling="answer").search(query_of(5), exact=True)
    assert caplog.text.count("waiting for search kernels") == 1
    assert (started, portable) == ([], [])


def test_waiting_can_be_asked_for(
    path: Path, started: list[Any], portable: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    PlaidIndex.load(path, while_compiling="wait").search(query_of(5))
    PlaidIndex.load(path).search(query_of(20))  # as the environment says
    assert (started, portable) == ([], [])
    with pytest.raises(ConfigError, match="while_compiling='later'; pass 'answer' or 'wait'"):
        PlaidIndex.load(path, while_compiling="later")  # type: ignore[arg-type]
    monkeypatch.setenv("COLMODERN_WHILE_COMPILING", "never")
    with pytest.raises(ConfigError, match="COLMODERN_WHILE_COMPILING='never'"):
        PlaidIndex.load(path)


def test_where_no_process_can_be_started_a_search_waits(
    path: Path, started: list[Any], portable: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_answer, "_start", lambda *_: False)
    assert PlaidIndex.load(path, while_compiling="answer").search(query_of(5))
    assert portable == []


def test_a_search_of_very_many_tokens_waits(
    path: Path, started: list[Any], portable: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.index.plaid.search.portable._REFINED_TOKENS", 1000)
    index = PlaidIndex.load(path, while_compiling="answer")
    index.search(query_of(5), 5, n_candidates=10)
    assert portable == [5]
    index.search(query_of(5), n_candidates=350)
    assert portable == [5]


def test_who_compiles_waits_for_a_process_that_compiles_the_same(
    path: Path, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, kind = PlaidIndex.load(path)._state.view, SearchKind(True, False)
    compiled: list[int] = []
    monkeypatch.setattr(first_answer, "compile_search", lambda *_, **__: compiled.append(1))
    lock = tmp_path / "ready" / "locks" / kind.key(view)
    lock.mkdir(parents=True)
    waiter = Thread(target=first_answer.compile_kind, args=(view, kind))
    with writer_lock(lock):
        waiter.start()
        waiter.join(0.3)
        assert waiter.is_alive()
        ready.mark_ready(kind.key(view))
    waiter.join(10)
    assert not waiter.is_alive()
    assert compiled == []
    first_answer.compile_kind(view, SearchKind(False, False))
    assert compiled == [1]


def test_a_lock_that_cannot_be_made_holds_nothing_back(
    path: Path, started: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "ready").mkdir()
    (tmp_path / "ready" / "locks").touch()  # a file where the folder of locks goes
    start = time.monotonic()
    with ready.compiling_alone("key"):
        assert time.monotonic() - start < 30


def test_other_arrays_have_other_kernels() -> None:
    keys = {
        ready.types_key(np.zeros(3, np.uint16), (np.zeros(2), 1.0)),
        ready.types_key(np.zeros(3, np.uint32), (np.zeros(2), 1.0)),
        ready.types_key(np.zeros((3, 1), np.uint16), (np.zeros(2), 1.0)),
        ready.types_key(np.zeros(3, np.uint16), (np.zeros(2), True)),
    }
    assert len(keys) == 4
    assert ready.types_key(np.zeros(9, np.uint16), (np.zeros(7), 2.5)) in keys


SCRIPT = """
import json, sys, time
import numpy as np
from colmodern import PlaidIndex

index = PlaidIndex.load(sys.argv[1])
query = np.ones((5, 32), np.float32)
first, n_answers = index.search(query), 1
if sys.argv[2] == "stay":
    while not index._kernels._ready:
        index.search(query)
        n_answers += 1
        time.sleep(0.05)
last = index.search(query)
json.dump([[d.doc_id for d in first], [d.doc_id for d in last], n_answers], sys.stdout)
"""


def run(cache: Path, path: Path, what: str) -> tuple[Any, str]:
    environment = {**os.environ, "COLMODERN_CACHE": str(cache)}
    environment.pop("COLMODERN_WHILE_COMPILING")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(path), what],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_a_fresh_installation_answers_and_compiles_once(path: Path, tmp_path: Path) -> None:
    (first, last, _), said = run(tmp_path, path, "leave")  # ends while another process compiles
    assert first == last
    assert said.count("compiled in the background") == 1
    assert len(said.splitlines()) == 1
    end = time.monotonic() + 300
    while len(list(tmp_path.rglob("ready/[0-9a-f]*"))) < 1:  # goes on
        assert time.monotonic() < end
        time.sleep(0.2)
    (_, _, n_answers), said = run(tmp_path, path, "stay")
    assert (n_answers, said) == (2, "") or said == ""


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_said_in_a_line_and_replaced(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (first, last, n_answers), said = run(tmp_path / "file", path, "stay")
    assert n_answers > 1
    assert first == last
    assert said.count("cannot be kept") == 1
