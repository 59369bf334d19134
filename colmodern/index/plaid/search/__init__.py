"""Searching a PLAID index on the CPU, from the open files to ranked documents."""
