"""The weight decay that holds a net at the edge of chaos: computed from short runs, and checked by training."""
