"""Runs beside other runs, and beside published scores."""
