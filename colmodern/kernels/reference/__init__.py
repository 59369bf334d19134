"""The kernels in plain NumPy: the specification that every faster kernel must equal."""
