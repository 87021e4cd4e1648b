"""Where a random layer's map is ordered and where chaotic: python scripts/phase_diagram.py --help."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("phase_diagram")
