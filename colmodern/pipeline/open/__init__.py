"""From configs, names and folders to collections, encoders, indexes and evaluations."""
