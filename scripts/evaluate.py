"""Rebuild the trained net of a run directory and test it again: python scripts/evaluate.py RUN_DIRECTORY."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("evaluate")
