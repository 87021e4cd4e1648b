"""One job, alone or in a group of replicas, from its config to its summary."""
