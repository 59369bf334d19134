"""Token embeddings without padding, in memory and on disk."""
