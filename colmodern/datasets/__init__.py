"""Test collections: local BEIR folders and the built-in one. Imports no torch."""
