"""What a diagnosis measures: lengths and gradients of several initializations, and gradients of parameters."""
