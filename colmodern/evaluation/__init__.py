"""Measures, TREC files and the report. Imports no torch."""
