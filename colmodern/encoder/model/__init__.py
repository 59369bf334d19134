"""The neural half of an encoder: backbones, attention, batches and their memory."""
