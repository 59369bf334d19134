"""Checkpoints on disk: where they are, which kind they have, and their weights."""
