"""Kernels for NVIDIA cards in Triton, which is imported when one is first used."""
