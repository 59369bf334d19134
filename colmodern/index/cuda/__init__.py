"""Searching on NVIDIA GPUs; loaded only when an index is opened on a GPU."""
