"""Encoding, building and searching on the machines of a Ray cluster."""
