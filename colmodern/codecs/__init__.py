"""How token embeddings are stored: a centroid, and the quantised rest."""
