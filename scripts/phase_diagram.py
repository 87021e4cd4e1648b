"""Draw the ordered and the chaotic phase of a random layer's map: python scripts/phase_diagram.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("phase_diagram")
