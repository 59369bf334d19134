"""What notebooks need of light modules: whether one runs, and the way to the HTML view of a record."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module


def is_running() -> bool:
    """Whether this process is the kernel of a notebook, which shows more than text."""
    # a kernel has loaded IPython long before; elsewhere this imports nothing
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython is not None and hasattr(get_ipython(), "kernel")


def import_tqdm() -> None:
    """Import tqdm.auto before transformers does, without its warning that ipywidgets are missing."""
    if is_running():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module("tqdm.auto")


def html_view(name: str, record: object) -> str:
    """The HTML of a record, drawn by the function ``name`` of colmodern.report.notebook.

    The function is looked up when a notebook asks for it: the report reads these records, so that
    an import would lead in a circle.
    """
    view: str = getattr(import_module("colmodern.report.notebook"), name)(record)
    return view
