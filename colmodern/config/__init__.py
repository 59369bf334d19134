"""Settings of evaluations: models, YAML, overrides, digests."""
