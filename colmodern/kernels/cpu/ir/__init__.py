"""Vectors inside numba functions, written in LLVM's intermediate representation."""
