"""Texts to token ids: settings, checks, the tokenizer and windows of long documents."""
