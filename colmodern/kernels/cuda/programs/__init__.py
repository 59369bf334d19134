"""What runs on the card, in Triton; imported only when a kernel is launched."""
