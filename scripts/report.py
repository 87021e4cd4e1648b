"""Write one HTML page about a run or a sweep: python scripts/report.py PATH."""

from start_training.cli.commands import main

if __name__ == "__main__":
    main("report")
