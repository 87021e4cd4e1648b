"""Collect the runs of a sweep and draw its figure: python scripts/draw.py FIGURE SWEEP_DIRECTORY."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("draw")
