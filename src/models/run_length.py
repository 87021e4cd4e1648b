"""How many optimizer steps a run has, for schedules that depend on it."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl

LENGTHS = ("total_steps", "steps_per_epoch")  # names of the parameters by which a schedule asks for them


def run_length(trainer: pl.Trainer) -> dict[str, float]:
    """The steps of a run that is about to be fitted, counted as the trainer does.

    With gradient accumulation, the last step of an epoch uses the remaining batches, however few.

    Args:
        trainer: Attached to its module and data.

    Returns:
        A value for each of `LENGTHS`: infinite where the run, or its data, has no end.
    """
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    total, batches = trainer.estimated_stepping_batches, trainer.num_training_batches
    if trainer.ckpt_path:
        # Lightning 2.6.6 reads the loops' state later and does not set up an existing loader again, so that a run
        # resumed in mid-epoch would restart the epoch.
        trainer.fit_loop._combined_loader = None
    steps_per_epoch = batches if batches == math.inf else math.ceil(batches / trainer.accumulate_grad_batches)
    return {"total_steps": total if total > 0 else math.inf, "steps_per_epoch": steps_per_epoch}


def asked_lengths(schedule: Callable[..., Any]) -> list[str]:
    """Those of `LENGTHS` that a schedule has parameters for, without a value yet.

    Args:
        schedule: A class or function of torch's schedulers' kind, perhaps a `functools.partial`.

    Example:
        >>> from functools import partial
        >>> def schedule(optimizer, total_steps, steps_per_epoch=None): ...
        >>> asked_lengths(partial(schedule, total_steps=100))
        ['steps_per_epoch']
    """
    parameters = inspect.signature(schedule).parameters
    not_given = (inspect.Parameter.empty, None)
    return [name for name in LENGTHS if name in parameters and parameters[name].default in not_given]


def check_same_length(resumed: Mapping[str, Any], state: Mapping[str, Any], name: str) -> None:
    """Check that the schedule of a resumed run was made for a run of the same length.

    Args:
        resumed: The schedule's state in the checkpoint, empty without a checkpoint.
        state: The schedule's state in this run.
        name: Of the schedule's class, for the message.

    Raises:
        ValueError: total_steps or steps_per_epoch differ.
    """
    before, now = ([values.get(length) for length in LENGTHS] for values in (resumed, state))
    if resumed and before[0] != now[0]:
        raise ValueError(
            f"schedule = {name}: spans a whole run, of {before[0]} steps in ckpt_path and of {now[0]} now, and cannot "
            "be extended or cut short; train the run of the new length from its start"
        )
    if resumed and before[1] != now[1]:
        raise ValueError(
            f"schedule = {name}: counts in epochs, of {before[1]} steps in ckpt_path and of {now[1]} now; "
            "go on with the same"
        )
