"""Layers between order and chaos: their phase, its diagram, its change in training, the weight decay at the edge."""
