"""Run a script with a limit of 6 GB of memory: limited.py SCRIPT ARGUMENTS."""

import resource
import runpy
import sys
from pathlib import Path

GIGABYTES = 6

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (GIGABYTES << 30, GIGABYTES << 30))
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
