"""One index of several: documents lie in shards, which are searched together."""
