"""Write and read checkpoints of the replicas of a group in the format of Lightning's Trainer."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from start_training.files.replaced_file import replaced
from start_training.replicas.optimizer import StackedOptimizer
from start_training.replicas.replica import Replica
from start_training.replicas.stack import Stack
from start_training.runs.checkpoint import check_callbacks_fit, interrupted_epoch, named_checkpoint, net_state
from start_training.runs.directory import RunDirectory


@dataclass(frozen=True)
class Progress:
    """The progress counters that the checkpoint of a run stores.

    Attributes:
        epoch: The current epoch, counted from 0.
        batches: The number of batches of this epoch that are trained.
        length: The number of batches in an epoch.
        steps: The number of optimizer steps of the run.
        validations: The number of batches in the validation set.
        ended: Whether validation, callbacks and logging at the end of the epoch are done.
    """

    epoch: int
    batches: int
    length: int
    steps: int
    validations: int
    ended: bool


class GroupSnapshot:
    """The state of all replicas of a group after a step, from which checkpoints can be written.

    Args:
        replicas: The replicas in the order of the stack.
        copied: Whether to copy all tensors, so that checkpoints can be written after the next step.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        progress: Progress,
        stack: Stack,
        optimizer: StackedOptimizer,
        *,
        copied: bool = False,
    ) -> None:
        copy_of = torch.clone if copied else Tensor.detach
        self._replicas, self._progress, self._stack, self._optimizer = list(replicas), progress, stack, optimizer
        self._parameters = copy_of(stack.parameters)
        self._rest, self._states = (
            {name: copy_of(tensor) for name, tensor in tensors.items()} for tensors in (stack.rest, optimizer.states)
        )
        by_key = ({callback.state_key: callback.state_dict() for callback in replica.callbacks} for replica in replicas)
        self._callbacks = [{key: _copied(state) for key, state in states.items() if state} for states in by_key]

    def save(self, replica: Replica) -> None:
        """Write the checkpoint of one replica into its run's directory."""
        row = self._replicas.index(replica)
        states = {name: self._stack.row_views(row, state) for name, state in self._states.items()}
        self._optimizer.export(replica.optimizer, states, self._progress.steps)
        net = self._stack.state_dict(row, self._parameters, self._rest)
        checkpoint = _checkpoint_of(replica, self._progress, net, self._callbacks[row])
        replica.optimizer.state.clear()  # views, which would keep the memory of the whole stack
        run = RunDirectory(replica.directory)
        # Through a file object: given a path, torch raises a RuntimeError without the reason if the disk is full.
        with replaced(run.checkpoint, keep=run.previous_checkpoint) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)


def start_of(checkpoint: Mapping[str, Any] | None) -> tuple[int, int, int]:
    """Return the position at which training starts or resumes.

    Args:
        checkpoint: The loaded checkpoint; None for a run that starts anew.
    Returns:
        (epoch counted from 0, number of its batches already trained, number of optimizer steps done)
    """
    if checkpoint is None:
        return 0, 0, 0
    processed = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    loader = interrupted_epoch(checkpoint)
    if loader and processed <= loader["epoch"]:  # otherwise a callback stopped the run, which ended its epoch
        return loader["epoch"], loader["batches"], checkpoint["global_step"]
    return processed, 0, checkpoint["global_step"]


def restore(replica: Replica, checkpoint: Mapping[str, Any]) -> None:
    """Load net, optimizer, callbacks and counters of a replica from a checkpoint, before it joins a group."""
    replica.current_epoch, _, replica.global_step = start_of(checkpoint)
    replica.net.load_state_dict(net_state(checkpoint))
    replica.optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    path = RunDirectory(replica.directory).checkpoint
    check_callbacks_fit(checkpoint, replica.callbacks, path)
    with named_checkpoint(path):
        for callback in replica.callbacks:
            if (state := checkpoint["callbacks"].get(callback.state_key)) is not None:
                callback.load_state_dict(state)
    if interrupted_epoch(checkpoint):
        replica.losses, replica.samples = list(checkpoint["epoch_losses"]), list(checkpoint["epoch_samples"])


def _checkpoint_of(
    replica: Replica, progress: Progress, net: Mapping[str, Tensor], callbacks: Mapping[str, Any]
) -> dict[str, Any]:
    """Build the checkpoint of a replica, with copies of all tensors; the replica's optimizer has to hold its states."""
    replica.set_step(progress.steps)
    schedule = replica.schedule
    return _copied(
        {
            "epoch": progress.epoch,
            "global_step": progress.steps,
            "pytorch-lightning_version": pl.__version__,
            "state_dict": _module_state(replica.net, net),
            "loops": _loop_counters(replica, progress),
            "callbacks": callbacks,
            "optimizer_states": [replica.optimizer.state_dict()],
            "lr_schedulers": [] if schedule is None else [schedule.state_dict()],
            "random_states": replica.random_state(progress.epoch).unsqueeze(0),
            "epoch_losses": [] if progress.ended else replica.losses,
            "epoch_samples": [] if progress.ended else replica.samples,
        }
    )


def _loop_counters(replica: Replica, progress: Progress) -> dict[str, Any]:
    idle = {"state_dict": {}, "batch_progress": {**_counts(0, 0), "is_last_batch": False}}
    counters = {"fit_loop": _fit_loop_counters(replica, progress), "validate_loop": idle, "test_loop": idle}
    return {**counters, "predict_loop": {"state_dict": {}, "batch_progress": _counts(0, 0)}}


def _fit_loop_counters(replica: Replica, progress: Progress) -> dict[str, Any]:
    steps, batches, epoch, order = progress.steps, progress.batches, progress.epoch, replica.order
    unfinished = not progress.ended  # Lightning saves within an epoch before it counts the last batch as completed
    loader = {"epoch": epoch, "batches": batches, "samples": order.size, "batch_size": order.batch_size}
    scheduled = replica.schedule is not None
    validated = progress.validations if progress.ended or epoch else 0
    epochs = {"ready": epoch + 1, "completed": epoch, "started": epoch + 1, "processed": epoch + progress.ended}
    batch_progress = _counts(steps, batches)
    for counts in batch_progress.values():
        counts["completed"] -= unfinished
    return {
        "state_dict": {"combined_loader": [{**loader, "seed": order.seed}]},
        "epoch_loop.state_dict": {"_batches_that_stepped": steps - unfinished},
        "epoch_loop.batch_progress": {
            **batch_progress,
            "is_last_batch": progress.ended and batches == progress.length,
        },
        "epoch_loop.scheduler_progress": _counts(steps * scheduled, batches * scheduled, ("ready", "completed")),
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {
                "step": _counts(steps, batches, ("ready", "completed")),
                "zero_grad": _counts(steps, batches, ("ready", "completed", "started")),
            }
        },
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": _counts(0, 0, ("ready", "completed")),
        "epoch_loop.val_loop.state_dict": {},
        "epoch_loop.val_loop.batch_progress": {
            **_counts(validated * progress.ended, validated),
            "is_last_batch": validated > 0,
        },
        "epoch_progress": {"total": dict(epochs), "current": dict(epochs)},
    }


_BATCHES = ("ready", "completed", "started", "processed")


def _counts(total: int, current: int, names: Sequence[str] = _BATCHES) -> dict[str, dict[str, int]]:
    return {"total": dict.fromkeys(names, total), "current": dict.fromkeys(names, current)}


def _module_state(net: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the state_dict of a LightningModule whose child `net` has the given tensors.

    It is built from a module, since a state_dict also stores the versions of modules.
    """
    module = nn.Module()
    module.net = net
    state = module.state_dict()
    state.update({f"net.{name}": value for name, value in tensors.items()})
    return state


def _copied(value: Any) -> Any:
    """Copy nested plain data with its tensors, since saving a view would save the whole tensor it belongs to."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        copied: Any = copy(value)  # keeps the attribute `_metadata` of a state_dict
        copied.update({key: _copied(item) for key, item in value.items()})
        return copied
    return type(value)(_copied(item) for item in value) if type(value) in (list, tuple) else value
