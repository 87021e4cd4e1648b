"""Entry point of `python -m start_training.cli COMMAND …`."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main()
