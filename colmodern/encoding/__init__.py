"""From texts to token embeddings in shards on disk, on one device or several."""
