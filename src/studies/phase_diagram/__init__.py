"""Where a random layer is ordered and where chaotic, and how that agrees with theory."""
