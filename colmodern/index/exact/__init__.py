"""Exact search: every document is scored."""
