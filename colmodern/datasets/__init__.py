"""Test collections: fetched by name, local files, and the built-in one. Imports no torch."""
