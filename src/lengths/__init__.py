"""What is measured: pure functions of tensors, and the hooks that feed them."""
