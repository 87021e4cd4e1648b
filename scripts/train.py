"""Train one net, or a sweep of nets with -m: python scripts/train.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("train")
