"""Run a script that sends signals to itself at a named place: signal_places.py PLACE NAMES SCRIPT ARGUMENTS.

NAMES are names of signals separated by commas, such as SIGTERM or SIGINT,SIGINT.
"""

import os
import pkgutil
import runpy
import signal
import sys
import time
from functools import wraps
from pathlib import Path
from typing import Any

# Place: module and function, or module:class and method, at whose first call the signals arrive; with a number N after
# a space, at the N-th call.
PLACES = {
    "composing the config": "start_training.cli.hydra_command _run_hydra",
    "building the net": "start_training.config.build_module build_initialized",
    "loading the data": "start_training.training.train load_datamodule",
    "beginning the run": "start_training.runs.directory:RunDirectory begin",
    "before the first step": "start_training.callbacks.activation_lengths:ActivationLengths on_train_start",
    "a training step": "start_training.models.training_module:TrainingModule training_step 5",
    "validation": "start_training.models.training_module:TrainingModule validation_step",
    "writing a checkpoint": "start_training.callbacks.last_checkpoint:LastCheckpoint _save",
    "the end of training": "start_training.callbacks.activation_lengths:ActivationLengths on_train_end",
    "test": "start_training.models.training_module:TrainingModule test_step",
    "drawing the run's figure": "start_training.reports.run_report figures",
    "writing the summary": "start_training.runs.directory:RunDirectory write_summary",
    "printing the results": "start_training.training.train print_results",
    "between two jobs": "start_training.cli.hydra_command:JobFunction __call__ 2",
    "the report of the sweep": "start_training.launchers.sweep:Sweep _report",
}


def patch(place: str, signums: list[int]) -> None:
    """Send the signals to this process when the function at the place is called."""
    owner_name, name, *times = PLACES[place].split()
    owner: Any = pkgutil.resolve_name(owner_name)
    function, calls = getattr(owner, name), iter(range(1, 10**9))

    @wraps(function)
    def signalled(*arguments: Any, **named: Any) -> Any:
        if next(calls) == int(*times or "1"):
            for signum in signums:
                os.kill(os.getpid(), signum)
                time.sleep(0.05)
        return function(*arguments, **named)

    setattr(owner, name, signalled)


if __name__ == "__main__":
    _, place, names, *sys.argv = sys.argv
    sys.path[0] = str(Path(sys.argv[0]).parent)
    if "LOCAL_RANK" not in os.environ:  # rank 0 alone receives the signals
        patch(place, [signal.Signals[name] for name in names.split(",")])
    runpy.run_path(sys.argv[0], run_name="__main__")
