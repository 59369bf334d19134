"""Errors and deaths of processes on a cluster, in the words of the process that waits for them."""

from __future__ import annotations

from colmodern.errors import ColmodernError


def error_here(
    cause: BaseException,
    process: str,
    *,
    job: str = "",
    cure: str,
    out_of_memory: type[ColmodernError],
    failed: type[ColmodernError],
) -> ColmodernError:
    """The error to raise in this process for one that another process raised.

    Args:
        cause: What that process raised.
        process: What messages call it.
        job: What it was doing; empty where ``process`` says that.
        cure: What to do where it ran out of memory.
        out_of_memory: The class of the error in that case.
        failed: The class of the error where ``cause`` is none of colmodern's.
    """
    at = f" at {job}" if job else ""
    if isinstance(cause, ColmodernError):
        return type(cause)(f"{process}{at}: {cause}")
    if isinstance(cause, MemoryError):
        return out_of_memory(f"{process} ran out of memory{at}; {cure}")
    return failed(f"{process} failed{at} with {type(cause).__name__}: {cause}")


def death(error: Exception) -> str:
    """Why a process died, in a few words, from what Ray raised."""
    text = str(error)
    if getattr(error, "actor_init_failed", False):
        return f"it could not start: {text.strip().splitlines()[-1]}"
    text = text.lower()
    if "out of memory" in text or "outofmemory" in text or "running low on memory" in text:
        return "its machine ran out of memory"
    if "connection error code 2" in text:
        return "it was killed, as the system does when memory ends"
    if "node" in text and ("died" in text or "dead" in text or "terminated" in text):
        return "its machine is gone"
    return type(error).__name__
