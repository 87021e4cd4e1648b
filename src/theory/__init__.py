"""Predictions for randomly drawn nets, computed with NumPy and SciPy; every function cites its source."""
