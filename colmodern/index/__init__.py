"""What finds documents by MaxSim. Sees embeddings, never text."""
