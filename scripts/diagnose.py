"""Predict whether a net will start training: python scripts/diagnose.py --help.

Exit status 0: healthy, 3: unhealthy, 1: an error in the config or the command line.
"""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("diagnose")
