"""Mend a net in place: candidates are tried on copies, and the best is kept if it is better than the net as it is."""
