"""The kinds of index of an evaluation: one class for each, found by ``index.kind``."""
