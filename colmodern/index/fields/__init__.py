"""Fields of documents: columns beside an index, filters as data, groups."""
