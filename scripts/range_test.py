"""The largest learning rate that a net can use, over seeds and any sweep: python scripts/range_test.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("range_test")
