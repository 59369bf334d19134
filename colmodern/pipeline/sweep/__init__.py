"""Sweeps: many settings measured from as few encodings and indexes as they need."""
