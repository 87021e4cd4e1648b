"""What else is measured of the signal in a net: paths, distances between inputs, attention, time, small changes."""
