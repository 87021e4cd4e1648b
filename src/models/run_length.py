"""How many optimizer steps a run has, for the schedules that depend on it."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl

LENGTHS = ("total_steps", "steps_per_epoch")  # by these names a schedule asks for them


def run_length(trainer: pl.Trainer) -> dict[str, float]:
    """Each of `LENGTHS`, of a run about to be fitted; infinite where it has no end, or its data no end.

    Counted as the trainer does: under accumulation an epoch's last step takes what batches are left.
    """
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    total, batches = trainer.estimated_stepping_batches, trainer.num_training_batches
    if trainer.ckpt_path:
        # Lightning 2.6.6 has not read the loops' state yet, and would not set a loader up again: a run resumed in
        # mid-epoch would begin the epoch anew.
        trainer.fit_loop._combined_loader = None
    steps_per_epoch = batches if batches == math.inf else math.ceil(batches / trainer.accumulate_grad_batches)
    return {"total_steps": total if total > 0 else math.inf, "steps_per_epoch": steps_per_epoch}


def asked_lengths(schedule: Callable[..., Any]) -> list[str]:
    """Those of `LENGTHS` that a schedule has parameters for and was not given."""
    parameters = inspect.signature(schedule).parameters
    not_given = (inspect.Parameter.empty, None)
    return [name for name in LENGTHS if name in parameters and parameters[name].default in not_given]


def check_same_length(resumed: Mapping[str, Any], state: Mapping[str, Any], name: str) -> None:
    """Raises ValueError where the schedule that a run resumes with depends on a length that is another now.

    resumed: the schedule's state in the checkpoint, empty where there is none; state: in this run; name: its class's.
    """
    if not resumed:
        return
    if (there := resumed.get("total_steps")) != (here := state.get("total_steps")):
        raise ValueError(
            f"schedule = {name}: spans a whole run, of {there} steps in ckpt_path and of {here} now, and cannot be "
            "extended or cut short; train the run of the new length from its start"
        )
    if (there := resumed.get("steps_per_epoch")) != (here := state.get("steps_per_epoch")):
        raise ValueError(
            f"schedule = {name}: counts in epochs, of {there} steps in ckpt_path and of {here} now; go on with the same"
        )
