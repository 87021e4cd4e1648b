"""Training of many runs in one program: parameters, gradients and optimizer states of replicas of a net are stacked."""
