"""From a plain config to the objects it names, and whose mistake it was where that fails."""
