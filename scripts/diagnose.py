"""Will this net start training? Exit status 0: healthy, 3: not, 1: a mistake. python scripts/diagnose.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("diagnose")
