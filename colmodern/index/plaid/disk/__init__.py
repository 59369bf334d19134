"""The files of a PLAID index: their layout, how they are opened, and how they are checked."""
