"""Layers between order and chaos: their phase, its diagram, how training moves it, and the weight decay it asks for."""
