"""The kernels compiled with numba: a search by its stages, the encoding of an index, exact int8 MaxSim."""
