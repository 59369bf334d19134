"""MaxSim arithmetic: ``reference`` is the specification, the others are faster."""
