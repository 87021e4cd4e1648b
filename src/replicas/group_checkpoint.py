"""Checkpoints of a group's replicas, in the format of Lightning's Trainer."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from start_training.replicas.optimizer import StackedOptimizer
from start_training.replicas.replica import Replica
from start_training.replicas.stack import Stack
from start_training.runs.checkpoint import interrupted_epoch, net_state
from start_training.runs.directory import RunDirectory
from start_training.runs.replaced_file import replaced


@dataclass(frozen=True)
class Progress:
    """How far a run has trained, as its checkpoint counts it.

    Attributes:
        epoch: From 0.
        batches: Batches of that epoch that are trained.
        length: All batches of an epoch.
        steps: Optimizer steps of the whole run.
        validations: Batches of the validation set.
        ended: Whether validation, callbacks and logging of the epoch's end are done.
    """

    epoch: int
    batches: int
    length: int
    steps: int
    validations: int
    ended: bool


class GroupSnapshot:
    """The state of all replicas of a group after a step, from which checkpoints are written, now or later.

    Args:
        replicas: In the order of the stack.
        copied: Whether to copy all tensors, which the next step would overwrite.
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
        keep = torch.clone if copied else Tensor.detach
        self._replicas, self._progress, self._stack, self._optimizer = list(replicas), progress, stack, optimizer
        self._parameters = keep(stack.parameters)
        self._rest, self._states = (
            {name: keep(each) for name, each in tensors.items()} for tensors in (stack.rest, optimizer.states)
        )
        by_key = ({each.state_key: each.state_dict() for each in replica.callbacks} for replica in replicas)
        self._callbacks = [{key: _copied(state) for key, state in states.items() if state} for states in by_key]

    def save(self, replica: Replica) -> None:
        """Write the checkpoint of one replica into its run's directory."""
        row = self._replicas.index(replica)
        states = {name: self._stack.of(row, state) for name, state in self._states.items()}
        self._optimizer.export(replica.optimizer, states, self._progress.steps)
        net = self._stack.state_dict(row, self._parameters, self._rest)
        checkpoint = _checkpoint_of(replica, self._progress, net, self._callbacks[row])
        replica.optimizer.state.clear()  # views, which would keep the memory of the whole stack
        run = RunDirectory(replica.directory)
        run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with replaced(run.checkpoint, keep=run.previous_checkpoint) as partial:
            torch.save(checkpoint, partial)


def start_of(checkpoint: Mapping[str, Any] | None) -> tuple[int, int, int]:
    """(epoch, batches of it, optimizer steps) that a checkpoint has trained; zeros for None."""
    if checkpoint is None:
        return 0, 0, 0
    processed = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    loader = interrupted_epoch(checkpoint)
    if loader and processed <= loader["epoch"]:  # else that epoch has ended: a callback stopped the run within it
        return loader["epoch"], loader["batches"], checkpoint["global_step"]
    return processed, 0, checkpoint["global_step"]


def restore(replica: Replica, checkpoint: Mapping[str, Any]) -> None:
    """Load net, optimizer, callbacks and counts of a replica that has not joined a group yet."""
    replica.current_epoch, _, replica.global_step = start_of(checkpoint)
    replica.net.load_state_dict(net_state(checkpoint))
    replica.optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    for callback in replica.callbacks:
        if (state := checkpoint["callbacks"].get(callback.state_key)) is not None:
            callback.load_state_dict(state)
    if interrupted_epoch(checkpoint):
        replica.losses, replica.samples = list(checkpoint["epoch_losses"]), list(checkpoint["epoch_samples"])


def _checkpoint_of(
    replica: Replica, progress: Progress, net: Mapping[str, Tensor], callbacks: Mapping[str, Any]
) -> dict[str, Any]:
    """A checkpoint that shares no memory with the group; the replica's optimizer holds its states meanwhile."""
    replica.set_step(progress.steps)
    schedule = replica.schedule
    return _copied(
        {
            "epoch": progress.epoch,
            "global_step": progress.steps,
            "pytorch-lightning_version": pl.__version__,
            "state_dict": _of_module(replica.net, net),
            "loops": _loops(replica, progress),
            "callbacks": callbacks,
            "optimizer_states": [replica.optimizer.state_dict()],
            "lr_schedulers": [] if schedule is None else [schedule.state_dict()],
            "random_states": replica.random_state(progress.epoch).unsqueeze(0),
            "epoch_losses": [] if progress.ended else replica.losses,
            "epoch_samples": [] if progress.ended else replica.samples,
        }
    )


def _loops(replica: Replica, progress: Progress) -> dict[str, Any]:
    """The counts of Lightning's loops, by its names."""
    steps, batches = progress.steps, progress.batches
    done = steps if progress.ended else steps - 1  # within an epoch, Lightning saves during the hooks of the last batch
    order = replica.order
    loader = {"epoch": progress.epoch, "batches": batches, "samples": order.size}
    loader |= {"batch_size": order.batch_size, "seed": order.seed}
    scheduled = replica.schedule is not None
    validated = progress.validations if progress.ended or progress.epoch else 0
    epochs = {"ready": progress.epoch + 1, "completed": progress.epoch, "started": progress.epoch + 1}
    epochs["processed"] = progress.epoch + progress.ended
    batch_done = batches if progress.ended else batches - 1
    return {
        "fit_loop": {
            "state_dict": {"combined_loader": [loader]},
            "epoch_loop.state_dict": {"_batches_that_stepped": done},
            "epoch_loop.batch_progress": {
                "total": {"ready": steps, "completed": done, "started": steps, "processed": steps},
                "current": {"ready": batches, "completed": batch_done, "started": batches, "processed": batches},
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
        },
        **{
            name: {"state_dict": {}, "batch_progress": {**_counts(0, 0), "is_last_batch": False}}
            for name in ("validate_loop", "test_loop")
        },
        "predict_loop": {"state_dict": {}, "batch_progress": _counts(0, 0)},
    }


_BATCHES = ("ready", "completed", "started", "processed")


def _counts(total: int, current: int, names: Sequence[str] = _BATCHES) -> dict[str, dict[str, int]]:
    return {"total": dict.fromkeys(names, total), "current": dict.fromkeys(names, current)}


def _of_module(net: nn.Module, held: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state_dict of a module with this net, whose tensors are those of `held`; it holds modules' versions, too."""
    module = nn.Module()
    module.net = net
    state = module.state_dict()
    state.update({f"net.{name}": value for name, value in held.items()})
    return state


def _copied(value: Any) -> Any:
    """Plain data with copies of its tensors: to save a view would save the whole tensor that it is a view of."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        copied: Any = copy(value)  # with a state_dict's attributes
        copied.update({key: _copied(item) for key, item in value.items()})
        return copied
    return type(value)(_copied(item) for item in value) if type(value) in (list, tuple) else value
