"""The one place that joins encoder, index, collection and evaluation."""
