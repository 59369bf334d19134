"""Training through PyLate, and hard negatives for it."""
