"""Multiruns: the resumable sweep, and the launchers that start its jobs."""
