"""Indexes: they rank documents by MaxSim, and see embeddings but never text."""
