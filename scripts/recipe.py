"""Choose hyper-parameters by range tests and train, within a budget of epochs: python scripts/recipe.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("recipe")
