"""Measurements of activations and gradients: pure functions of tensors, and hooks that apply them to a net."""
