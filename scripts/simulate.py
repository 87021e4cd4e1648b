"""Measure the layer lengths of many nets at initialization: python scripts/simulate.py --help. With -m: a sweep."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("simulate")
