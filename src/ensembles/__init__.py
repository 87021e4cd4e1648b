"""The lengths of many networks at initialization, log_lengths[net, layer], by three interchangeable samplers."""
