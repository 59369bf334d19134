"""Joins encoder, index, collection and evaluation."""
