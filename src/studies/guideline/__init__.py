"""The weight decay of the edge of chaos, from short runs, and training that checks it."""
