"""Search in NumPy alone, with the integers of the compiled kernels, for use while those compile."""
