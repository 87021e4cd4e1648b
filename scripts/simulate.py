"""Sample many nets at initialization, or with -m a sweep of them: python scripts/simulate.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("simulate")
