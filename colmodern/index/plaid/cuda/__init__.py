"""Searching a PLAID index on NVIDIA GPUs; torch is loaded with the first search there."""
