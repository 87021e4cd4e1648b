"""What a diagnosis minimizes in short trainings: the batch, its targets, the loss, the optimizers."""
