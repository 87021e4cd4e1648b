"""Find the largest learning rate that a net can use, by range tests: python scripts/range_test.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("range_test")
