"""Many runs as one program: replicas of a net whose parameters, gradients and optimizer states are stacked."""
