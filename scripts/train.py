"""Train one net, or with -m a sweep of them: python scripts/train.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("train")
