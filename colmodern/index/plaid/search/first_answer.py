"""Answers before the kernels of a search are compiled, and what waits for them instead.

A single search is answered in NumPy while another process compiles: in a thread, the compiler would
take the interpreter's lock from every answer. That process fills the cache on disk, also when this
one ends first, and this one then loads what is there.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from colmodern.errors import ConfigError
from colmodern.index.plaid.search.portable import is_quick
from colmodern.index.plaid.search.request import Query, SearchRequest
from colmodern.index.plaid.search.state import load_state
from colmodern.index.plaid.search.steps import compile_search, fits_one_call
from colmodern.index.plaid.search.view import View
from colmodern.kernels.cpu.jit import is_temporary, kept_in
from colmodern.kernels.cpu.ready import compiling_alone, is_ready, mark_ready, types_key
from colmodern.threads import Threads
from colmodern.types import Results, ScoredDoc

WhileCompiling = Literal["answer", "wait"]
VARIABLE = "COLMODERN_WHILE_COMPILING"
_NICENESS = 10  # the process that compiles gives way to answers
_log = logging.getLogger(__name__)

_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from colmodern.index.plaid.search.first_answer import compile_in_child
compile_in_child(*json.loads(sys.argv[2]))
"""


class SearchKind(NamedTuple):
    """What decides which kernels a search needs, beside the types of the index's arrays.

    Attributes:
        is_one_call: Whether one call into compiled code searches.
        is_rescored: Whether stored embeddings are scored.
    """

    is_one_call: bool
    is_rescored: bool

    def key(self, view: View) -> str:
        """The name of these kernels in the cache, with the types of the index's arrays."""
        arrays = [tuple(segment.arrays) for segment in view.segments[:1]]
        return types_key(tuple(view.codec.arrays), *arrays, *self)


def checked_mode(while_compiling: str | None) -> WhileCompiling:
    """What a single search does while kernels compile: the argument, or else the environment's.

    Raises:
        ConfigError: It is neither "answer" nor "wait".
    """
    name = VARIABLE if while_compiling is None else "while_compiling"
    mode = os.environ.get(VARIABLE, "answer") if while_compiling is None else while_compiling
    if mode not in get_args(WhileCompiling):
        raise ConfigError(f"{name}={mode!r}; pass 'answer' or 'wait'")
    return cast("WhileCompiling", mode)


class SearchKernels:
    """The kernels that searches of one open index need, as far as they are compiled.

    Args:
        folder: The index folder.
        while_compiling: Whether a single search is answered in NumPy meanwhile, or waits.
    """

    def __init__(self, folder: Path, while_compiling: str | None = None) -> None:
        self._folder = folder
        self._mode = checked_mode(while_compiling)
        self._ready: set[SearchKind] = set()

    def answer(self, request: SearchRequest, query: Query, threads: Threads) -> Results[ScoredDoc]:
        """The best k documents of one query: in NumPy if its kernels are not compiled yet."""
        kind = _kind_of(request, [query], threads)
        if kind not in self._ready and not self._is_compiled(kind, request.view):
            if self._may_answer(request, len(query.values)) and _start(
                self._folder, request.view, kind
            ):
                _say_once()
                return request.portably(query)
            _tell_of_waiting(_log.warning)
            _join_child(kind.key(request.view))
        ranking = request(query, threads)
        self._note(kind, request.view)
        return ranking

    @contextmanager
    def awaited(
        self,
        request: SearchRequest,
        queries: Sequence[Query],
        threads: Threads,
        tell: Callable[[str], None],
    ) -> Iterator[None]:
        """Say so before searches in the block wait for the compiler, and note what is compiled.

        Args:
            request: What is searched.
            queries: What it is searched for.
            threads: Threads of one search.
            tell: Receives the message.
        """
        kind = _kind_of(request, queries, threads)
        if kind not in self._ready and not self._is_compiled(kind, request.view):
            _tell_of_waiting(tell)
            _join_child(kind.key(request.view))
        yield
        self._note(kind, request.view)

    def _may_answer(self, request: SearchRequest, n_tokens: int) -> bool:
        """Whether NumPy may answer: not an exact search, and not one that takes seconds."""
        if self._mode == "wait" or request.exact:
            return False
        return is_quick(request.view, request.budget, n_tokens)

    def _is_compiled(self, kind: SearchKind, view: View) -> bool:
        if is_compiled := is_ready(kind.key(view)):
            self._ready.add(kind)
        return is_compiled

    def _note(self, kind: SearchKind, view: View) -> None:
        if kind not in self._ready:
            self._ready.add(kind)
            mark_ready(kind.key(view))


def _kind_of(request: SearchRequest, queries: Sequence[Query], threads: Threads) -> SearchKind:
    are_plain = all(query.candidates is None for query in queries)
    in_one_call = are_plain and not request.exact
    is_one_call = in_one_call and fits_one_call(request.view, request.budget, threads)
    return SearchKind(is_one_call, request.stored is not None)


_children: dict[str, subprocess.Popen[bytes]] = {}
if hasattr(os, "register_at_fork"):  # a forked process cannot wait for its parent's children
    os.register_at_fork(after_in_child=_children.clear)


def _tell_of_waiting(tell: Callable[[str], None]) -> None:
    folder = kept_in()
    where = "" if folder is None else f"; kept in {folder}"
    tell(f"waiting for search kernels to be compiled, once for each kind of search{where}")


def _join_child(key: str) -> None:
    """Wait for the process that compiles these kernels, if there is one."""
    if child := _children.get(key):
        child.wait()


def _start(folder: Path, view: View, kind: SearchKind) -> bool:
    """Compile in another process, unless one does already; False if that is not possible."""
    key = kind.key(view)
    if child := _children.get(key):
        return child.poll() is None  # else it failed, and who compiles here will see why
    kernels = kept_in()
    if kernels is None or not sys.executable:
        return False
    arguments = [json.dumps(sys.path), json.dumps([str(folder), *kind])]
    try:
        _children[key] = subprocess.Popen(
            [sys.executable, "-c", _CHILD, *arguments],
            env={**os.environ, "COLMODERN_CACHE": str(kernels.parents[1])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what interrupts this process leaves it alone
        )
    except OSError:
        return False
    if is_temporary():
        atexit.register(_children[key].terminate)
    return True


def compile_in_child(folder: str, *flags: bool) -> None:
    """Fill the cache with the kernels of an index's searches."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    compile_kind(load_state(Path(folder), "addresses").view, SearchKind(*flags))


def compile_kind(view: View, kind: SearchKind) -> None:
    """Compile what one kind of search of these documents needs, unless it is in the cache.

    Where another process compiles the same, this one waits for it.
    """
    key = kind.key(view)
    with compiling_alone(key):
        if not is_ready(key):
            compile_search(view, is_one_call=kind.is_one_call, is_rescored=kind.is_rescored)
            mark_ready(key)


@cache
def _say_once() -> None:
    _log.warning(
        "search kernels are being compiled in the background, once for each kind of search "
        "(seconds; kept in %s); until then single searches are answered in NumPy, with the same documents: "
        "%s=wait waits instead",
        kept_in(),
        VARIABLE,
    )
