"""Text to token embeddings: checkpoints, tokenizer rules, batches."""
