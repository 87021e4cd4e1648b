"""The weight decay with which a layer settles at the edge of chaos: python scripts/weight_decay.py --help.

Exit status 0: a number, 3: the guideline does not apply, 1: a mistake.
"""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("weight_decay")
