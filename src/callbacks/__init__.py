"""Watching a run: each callback is self-contained and serves in anyone's own Lightning Trainer."""
