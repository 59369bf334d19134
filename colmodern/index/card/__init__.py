"""Searching on NVIDIA cards; loaded only when an index is opened with a card for its device."""
