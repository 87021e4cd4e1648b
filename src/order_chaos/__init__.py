"""Ordered and chaotic layers: measure a layer's phase, simulate phase diagrams, fit how the phase moves in training."""
