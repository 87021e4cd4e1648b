"""Find the weight decay that keeps a layer at the edge of chaos: python scripts/weight_decay.py --help.

Exit status 0: a weight decay was found, 3: the guideline does not apply, 1: an error in the config or command line.
"""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("weight_decay")
