"""Texts, their model and their index in one folder: text in, text out."""
