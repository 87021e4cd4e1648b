"""Numbers of optimizer steps of a run, for schedules that depend on them."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl

LENGTHS = ("total_steps", "steps_per_epoch")  # parameters of schedules that are filled with the numbers of the run


def run_length(trainer: pl.Trainer) -> dict[str, float]:
    """Count the optimizer steps of a run before it is fitted, in the same way as the trainer.

    With gradient accumulation the last step of an epoch uses the remaining batches, however few.

    Args:
        trainer: Trainer with its module and data attached.

    Returns:
        `total_steps` and `steps_per_epoch`; infinite if the run or its data has no end.
    """
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    total, batches = trainer.estimated_stepping_batches, trainer.num_training_batches
    if trainer.ckpt_path:
        # Lightning 2.6.6 restores the state of the loops later, and only into a loader that it sets up then. With the
        # loader kept, a run resumed in mid-epoch would restart the epoch.
        trainer.fit_loop._combined_loader = None
    steps_per_epoch = batches if batches == math.inf else math.ceil(batches / trainer.accumulate_grad_batches)
    return {"total_steps": total if total > 0 else math.inf, "steps_per_epoch": steps_per_epoch}


def required_lengths(schedule: Callable[..., Any]) -> list[str]:
    """Return which of `total_steps` and `steps_per_epoch` a schedule has as parameters without a value.

    Args:
        schedule: A torch scheduler class, a function that creates a scheduler, or a `functools.partial` of either.

    Example:
        >>> from functools import partial
        >>> def schedule(optimizer, total_steps, steps_per_epoch=None): ...
        >>> required_lengths(partial(schedule, total_steps=100))
        ['steps_per_epoch']
    """
    parameters = inspect.signature(schedule).parameters
    not_given = (inspect.Parameter.empty, None)
    return [name for name in LENGTHS if name in parameters and parameters[name].default in not_given]


def check_same_length(resumed: Mapping[str, Any], state: Mapping[str, Any], name: str) -> None:
    """Check that the schedule of a resumed run was built for a run of the same length.

    Args:
        resumed: State of the schedule in the checkpoint; empty without a checkpoint.
        state: State of the schedule in this run.
        name: Name of the schedule's class in the error message.

    Raises:
        ValueError: total_steps or steps_per_epoch differ between the checkpoint and this run.
    """
    before, now = ([values.get(length) for length in LENGTHS] for values in (resumed, state))
    if resumed and before[0] != now[0]:
        raise ValueError(
            f"schedule = {name}: must have the {before[0]} total steps of the checkpoint, not {now[0]}; "
            "to change the length of the run, start it without ckpt_path"
        )
    if resumed and before[1] != now[1]:
        raise ValueError(
            f"schedule = {name}: must have the {before[1]} steps per epoch of the checkpoint, not {now[1]}; "
            "set the batch size and data of the checkpoint"
        )
