"""Many networks at initialization: three samplers of one result, log_lengths[net, layer]."""
