"""The compressed index: on disk, written and searched."""
