"""Learning rate and momentum over a run, and what short runs say of them."""
