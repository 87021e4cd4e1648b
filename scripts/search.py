"""Choose a weight decay, a momentum or a batch size by short runs: python scripts/search.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("search")
