"""The weight decay of the edge of chaos: from short runs to a number, a report, and training that checks it."""
