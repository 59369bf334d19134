"""BM25: documents and queries are texts, and no model takes part."""
