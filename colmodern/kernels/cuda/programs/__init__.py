"""What runs on the GPU, in Triton; imported only when a kernel is launched."""
