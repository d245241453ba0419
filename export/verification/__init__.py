"""Whether an artifact does what the model does in PyTorch, in numbers."""
