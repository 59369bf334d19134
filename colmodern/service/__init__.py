"""Search, rerank, encode and explain over HTTP: the application behind ``colmodern serve``."""
