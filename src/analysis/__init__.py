"""Statistics over the runs of a sweep, in numbers: no drawing, no words."""
