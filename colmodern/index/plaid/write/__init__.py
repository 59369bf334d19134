"""Building a PLAID index and changing it."""
