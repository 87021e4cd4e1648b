"""What is recorded of the lengths in a training: when, in which forward passes, by which optimizer, and where."""
