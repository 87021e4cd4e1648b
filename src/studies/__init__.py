"""Studies: commands that train many runs, or sample many nets or matrices, to answer one question."""
