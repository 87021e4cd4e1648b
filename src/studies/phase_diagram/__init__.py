"""The phase diagram of a random layer: simulate where it is ordered and where chaotic, and compare with theory."""
