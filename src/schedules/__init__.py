"""Learning-rate and momentum schedules, and what the loss curves of short runs say about the learning rate."""
