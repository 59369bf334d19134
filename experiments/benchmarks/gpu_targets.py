"""What search on a GPU is built to reach, and what the rows of a run came to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

Row = dict[str, Any]
_LATE, _FLASH = "late-interaction-kernels", "flash-maxsim"
_ONE, _OWN = "exact, one query", "compressed tokens, each query's own"


class Target(NamedTuple):
    """A figure to reach; measured: None where this run did not measure it."""

    work: str
    what: str
    wanted: float
    measured: float | None
    is_most: bool = False  # wanted is the most, not the least

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.measured is None:
            return "not measured"
        is_met = self.measured <= self.wanted if self.is_most else self.measured >= self.wanted
        return "met" if is_met else "missed"


def targets(rows: list[Row]) -> Iterator[Target]:
    """All of them, of kernels and then of searches; rows as gpu.py's COLUMNS name them."""
    yield from _of_kernels(rows)
    yield from _of_encoders([row for row in rows if row["work"] == "encode"])
    yield from _of_evals(rows)
    searched = [row for row in rows if row["work"] == "search"]
    for shape in dict.fromkeys(row["shape"] for row in searched) or [""]:
        yield from _of_searches([row for row in searched if row["shape"] == shape], shape)


def _of_kernels(rows: list[Row]) -> Iterator[Target]:
    many = _select(rows, _ONE, " 10000 documents", "bfloat16")
    name = "exact, one query, 10,000 documents"
    yield Target(name, "share of the copy", 0.8, _least(many, "share", "colmodern"))
    yield Target(name, f"times {_LATE}", 0.95, _times(many, "ms", _LATE))
    for n, times in (
        (100, 2),
        (1000, 4),
    ):  # a caller waits for launches, so what counts is its wait
        peers = _least(_select(rows, _ONE, f" {n} documents"), "wall_ms", _LATE, _FLASH)
        name = f"exact rerank, {n:,} documents"
        ours = _least(_select(rows, _ONE, f" {n} documents"), "wall_ms", "colmodern, replayed")
        yield Target(name, "replayed: times the better peer", times, _ratio(peers, ours))
        ours = _least(
            _select(rows, "rerank, from the host", f" {n} documents"), "wall_ms", "colmodern"
        )
        yield Target(f"{name}, from the host", "times the better peer", times, _ratio(peers, ours))
    batch, name = _select(rows, "exact, 64 queries"), "exact, 64 queries at once"
    yield Target(name, "share of the bf16 product", 0.55, _least(batch, "share", "colmodern"))
    yield Target(name, "times the better peer", 1.5, _times(batch, "ms", _LATE, _FLASH))
    own, name = _select(rows, _OWN, "1 x "), "compressed scoring, 4 bits"
    ns = _least(own, "ns_per_token_query", "colmodern")
    yield Target(name, "ns a token and query", 0.15, ns, is_most=True)
    yield Target(name, f"times {_LATE}", 8, _times(own, "ms", _LATE))


def _of_encoders(rows: list[Row]) -> Iterator[Target]:
    for kind, speed, times in (("passages", 1.4e6, 3), ("8192 tokens", 0.9e6, 3.4)):
        kind_rows = [row for row in rows if row["shape"].startswith(kind)]
        name, column = f"encode {kind}, bfloat16", "tokens_per_s"
        ours = _least(kind_rows, column, "colmodern")
        peers = [row[column] for row in kind_rows if row["engine"] != "colmodern" and column in row]
        yield Target(name, "tokens a second", speed, ours)
        ratio = ours / max(peers) if ours and peers else None
        yield Target(name, "times transformers, its best batch", times, ratio)
        share = _least(kind_rows, "share", "colmodern")
        yield Target(name, "share of the bf16 product", 0.5, share)


def _of_evals(rows: list[Row]) -> Iterator[Target]:
    wall = _least(_select(rows, "eval", "100000 passages"), "wall_ms", "colmodern")
    seconds = None if wall is None else wall / 1000
    yield Target("colmodern eval, 100,000 passages", "seconds", 60, seconds, is_most=True)


def _of_searches(rows: list[Row], shape: str) -> Iterator[Target]:
    name = f"search, {shape.partition(',')[0]}" if shape else "search"
    ours, theirs = (_least(rows, "overlap@10", engine) for engine in ("colmodern", "xtr-warp"))
    yield Target(name, "overlap@10", 0.98, ours)
    latency = _times(rows, "latency_ms_median", "fast-plaid")
    yield Target(name, "times fast-plaid, single query", 25, latency)
    for engine, most_ms, least_qps in (
        ("exact", 1.2, 4000), ("colmodern", 0.45, 8000), ("colmodern, rescored", 0.6, 6000),
    ):  # fmt: skip
        ms = _least(rows, "latency_ms_median", engine)
        yield Target(f"{name}, {engine}", "ms a query", most_ms, ms, is_most=True)
        yield Target(
            f"{name}, {engine}", "queries a second", least_qps, _least(rows, "batch_qps", engine)
        )
    yield Target(
        f"{name}, rescored", "overlap@10", 1, _least(rows, "overlap@10", "colmodern, rescored")
    )
    warp = _times(rows, "batch_qps", "xtr-warp")
    yield Target(name, "times xtr-warp, throughput", 1.5, None if warp is None else 1 / warp)
    more = None if ours is None or theirs is None else ours - theirs
    yield Target(name, "overlap@10 above xtr-warp's", 0, more)
    name = name.replace("search", "build")
    yield Target(name, "times fast-plaid", 3, _times(rows, "build_s", "fast-plaid"))
    yield Target(name, "seconds", 6, _least(rows, "build_s", "colmodern"), is_most=True)


def _select(rows: list[Row], work: str, *words: str) -> list[Row]:
    return [row for row in rows if row["work"] == work and all(p in row["shape"] for p in words)]


def _least(rows: list[Row], column: str, *engines: str) -> float | None:
    values = [row[column] for row in rows if row["engine"] in engines and row.get(column)]
    return min(values, default=None)


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator and denominator else None


def _times(rows: list[Row], column: str, *peers: str) -> float | None:
    """How many times the time of the better of the peers is ours, None without one of the two."""
    ours = _least(rows, column, "colmodern", "colmodern, replayed")
    theirs = _least(rows, column, *peers)
    return None if ours is None or theirs is None else theirs / ours
