"""Run jobs, one by one or in groups of replicas, from the config to the summary."""
