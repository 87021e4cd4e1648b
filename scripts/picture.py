"""Draw the activations of one image in a deep net, for several initializers: python scripts/picture.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("picture")
