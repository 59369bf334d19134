"""Kernels for NVIDIA GPUs in Triton, which is imported when one is first used."""
