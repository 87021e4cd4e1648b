"""Sample the lengths of many nets at initialization, log_lengths[net, layer], by three interchangeable samplers."""
