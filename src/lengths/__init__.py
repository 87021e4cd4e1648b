"""What is measured: pure functions of tensors, and the hooks that apply them to a net."""
