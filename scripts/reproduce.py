"""Run a small experiment of a paper and check its claim: python scripts/reproduce.py EXPERIMENT."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("reproduce")
