"""One image through one deep net, several initializations side by side: python scripts/picture.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("picture")
