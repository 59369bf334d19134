"""Kernels: ``reference`` is the specification, ``cpu``, ``cuda`` and ``portable`` equal it."""
