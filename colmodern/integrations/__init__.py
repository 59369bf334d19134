"""colmodern inside other tools: one file for each of them."""
