"""A plan as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from colmodern.evaluation.significance import LEVEL
from colmodern.pipeline.plan.plan import Plan
from colmodern.pipeline.sample import Total
from colmodern.report.tables import Cell, Table

_MEMORY = (
    "Memory: of the process in that stage, at most; files that are mapped are not in it. Times are "
    "those of doing a little of each stage now, made longer: rough for an index, and of this machine as "
    "busy as it is."
)
_ON_GPU = (
    " Building and searching are counted as if the CPU did them; what {} holds in their place "
    "is not counted."
)


def counts_table(plan: Plan) -> Table:
    """Documents, tokens and bytes on disk."""
    rows = [
        [Cell("documents"), Cell(f"{plan.n_docs:,}"), Cell("")],
        [Cell("queries"), Cell(f"{plan.n_queries:,}"), Cell("")],
        [
            Cell("token embeddings"),
            Cell(_count(plan.tokens.value)),
            Cell(_interval(plan.tokens, _count)),
        ],
        *(
            [Cell(name + _mark(plan, name)), Cell(_size(size.value)), Cell(_interval(size, _size))]
            for name, size in plan.disk.items()
        ),
        [Cell("free on that disk"), Cell(_size(plan.disk_free)), Cell("")],
    ]
    is_sampled = plan.n_sampled < plan.n_docs
    drawn = f"{plan.n_sampled:,} documents drawn at random" if is_sampled else "all documents"
    note = f"Tokens are those that the model's tokenizer makes of {drawn}."
    return Table(f"{plan.name}: size", ["", "", f"{LEVEL:.0%} interval"], rows, note=note)


def stages_table(plan: Plan) -> Table:
    """Memory and time of each stage."""
    rows = [
        [
            Cell(name),
            Cell(_size(size)),
            Cell(duration(plan.seconds[name]) if name in plan.seconds else "-"),
        ]
        for name, size in plan.memory.items()
    ]
    rows.append([Cell("all"), Cell(_size(plan.peak)), Cell(total_duration([plan]))])
    return Table(
        f"{plan.name}: memory and time", ["stage", "peak", "time"], rows, note=_note([plan])
    )


def suite_table(plans: Sequence[Plan]) -> Table:
    """A row an evaluation; embeddings are shared by those of one model on one data set."""
    header = ["", "documents", "tokens", "embeddings", "index", "peak", "time"]
    rows = []
    for plan in plans:
        index = plan.disk_needed - plan.disk["embeddings"].value
        cells = [plan.name, f"{plan.n_docs:,}", f"{plan.tokens.value:,.0f}"]
        cells += [_size(plan.disk["embeddings"].value), _size(index) if index else "-"]
        cells += [_size(plan.peak), total_duration([plan])]
        rows.append([Cell(text) for text in cells])
    total = ["all", "", "", _size(sum(plan.disk["embeddings"].value for plan in plans)), ""]
    total += [_size(max(plan.peak for plan in plans)), total_duration(plans)]
    rows.append([Cell(text) for text in total])
    note = (
        f"{_note(plans)} What evaluations share, as embeddings, is made once and counted for each."
    )
    return Table("Plan", header, rows, note=note)


def _note(plans: Sequence[Plan]) -> str:
    devices = sorted({plan.search_device for plan in plans} - {"cpu"})
    return _MEMORY + (_ON_GPU.format(" and ".join(devices)) if devices else "")


def verdict(plan: Plan) -> str:
    """What to do where it does not fit; empty where it does."""
    faults = []
    if plan.disk_needed > plan.disk_free:
        faults.append(
            f"{plan.name} needs {_size(plan.disk_needed)} on disk and {_size(plan.disk_free)} are free: "
            "choose another output"
        )
    if plan.fits:
        settings = " ".join(f"{key}={value}" for key, value in plan.fits.items())
        faults.append(
            f"{plan.name} does not fit max_memory={_size(plan.max_memory or 0)}; it fits with {settings}"
        )
    elif plan.fits is not None:
        faults.append(
            f"{plan.name} does not fit max_memory={_size(plan.max_memory or 0)}, whatever is set of storage "
            "and index; lower encoder.max_memory or encoder.document_length, or give more"
        )
    return "\n".join(faults)


def total_duration(plans: Sequence[Plan]) -> str:
    """The time of all stages; "-" where nothing was timed."""
    if not all(plan.seconds for plan in plans):
        return "-"
    every = [seconds for plan in plans for seconds in plan.seconds.values()]
    return duration(Total(*(sum(values) for values in zip(*every, strict=True))))


def duration(seconds: Total) -> str:
    """As people say it: the value, and the interval where there is one."""
    value, low, high = map(_time, seconds)
    return value if low == high else f"{value} ({low} to {high})"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(n_bytes: float) -> str:
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:,.2f} GB"
    return f"{n_bytes / 1e6:,.1f} MB"


def _interval(total: Total, shown: Callable[[float], str]) -> str:
    return "" if total.low == total.high else f"{shown(total.low)} to {shown(total.high)}"


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _mark(plan: Plan, name: str) -> str:
    return " (this config)" if name == f"index, {plan.nbits} bits" else ""
