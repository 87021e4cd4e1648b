"""A replica's checkpoint: what its own run, under Lightning's trainer, would have saved at that moment."""

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from start_training.replicas.replica import Replica
from start_training.runs.checkpoint import interrupted_epoch, net_state


@dataclass(frozen=True)
class Progress:
    """Where a run stands: after the first `batches` of the `length` of an epoch, with `steps` in all.

    ended: with all done that is done at an epoch's end. validations: batches of the validation set.
    """

    epoch: int
    batches: int
    length: int
    steps: int
    validations: int
    ended: bool


def callback_states(replica: Replica) -> dict[str, Any]:
    """What its callbacks want to be kept."""
    states = {callback.state_key: callback.state_dict() for callback in replica.callbacks}
    return {key: _own(state) for key, state in states.items() if state}


def checkpoint_of(
    replica: Replica, moment: Progress, net: Mapping[str, Tensor], callbacks: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole of it, plain data and tensors of its own. The optimizer holds its states; net: the net's state_dict."""
    replica.set_step(moment.steps)
    schedule = replica.schedule
    return _own(
        {
            "epoch": moment.epoch,
            "global_step": moment.steps,
            "pytorch-lightning_version": pl.__version__,
            "state_dict": _of_module(replica.net, net),
            "loops": loops(replica, moment),
            "callbacks": callbacks,
            "optimizer_states": [replica.optimizer.state_dict()],
            "lr_schedulers": [] if schedule is None else [schedule.state_dict()],
            "random_states": replica.random_state(moment.epoch).unsqueeze(0),
            "epoch_losses": [] if moment.ended else replica.losses,
            "epoch_samples": [] if moment.ended else replica.samples,
        }
    )


def save(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write it beside and then in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    torch.save(checkpoint, beside)
    os.replace(beside, path)


def start_of(checkpoint: Mapping[str, Any] | None) -> tuple[int, int, int]:
    """(epoch, batches of it that are done, optimizer steps) with which a run goes on; zeros without a checkpoint."""
    if checkpoint is None:
        return 0, 0, 0
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    loader = interrupted_epoch(checkpoint)
    if loader and progress["processed"] <= loader["epoch"]:  # else that epoch is over: a callback asked to stop in it
        return loader["epoch"], loader["batches"], checkpoint["global_step"]
    return progress["processed"], 0, checkpoint["global_step"]


def restore(replica: Replica, checkpoint: Mapping[str, Any]) -> None:
    """Make a replica that has not joined a group yet what it was: net, optimizer, callbacks, counts."""
    replica.current_epoch, _, replica.global_step = start_of(checkpoint)
    replica.net.load_state_dict(net_state(checkpoint))
    replica.optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    for callback in replica.callbacks:
        if (state := checkpoint["callbacks"].get(callback.state_key)) is not None:
            callback.load_state_dict(state)
    if interrupted_epoch(checkpoint):
        replica.losses, replica.samples = list(checkpoint["epoch_losses"]), list(checkpoint["epoch_samples"])


def loops(replica: Replica, moment: Progress) -> dict[str, Any]:
    """The counts of Lightning's loops, by its names."""
    steps, batches = moment.steps, moment.batches
    done = steps if moment.ended else steps - 1  # in mid-epoch a checkpoint is taken within the last batch's hooks
    order = replica.order
    loader = {"epoch": moment.epoch, "batches": batches, "samples": order.size}
    loader |= {"batch_size": order.batch_size, "seed": order.seed}
    scheduled = replica.schedule is not None
    validated = moment.validations if moment.ended or moment.epoch else 0
    epochs = {"ready": moment.epoch + 1, "completed": moment.epoch, "started": moment.epoch + 1}
    epochs["processed"] = moment.epoch + moment.ended
    batch_done = batches if moment.ended else batches - 1
    return {
        "fit_loop": {
            "state_dict": {"combined_loader": [loader]},
            "epoch_loop.state_dict": {"_batches_that_stepped": done},
            "epoch_loop.batch_progress": {
                "total": {"ready": steps, "completed": done, "started": steps, "processed": steps},
                "current": {"ready": batches, "completed": batch_done, "started": batches, "processed": batches},
                "is_last_batch": moment.ended and batches == moment.length,
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
                **_counts(validated * moment.ended, validated),
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
    """The state_dict of a module whose net this is, with the net's part from `held`: it tells of modules' versions."""
    module = nn.Module()
    module.net = net
    state = module.state_dict()
    state.update({f"net.{name}": value for name, value in held.items()})
    return state


def _own(value: Any) -> Any:
    """Plain data with tensors that share no memory: to save a view would save all that it is a view of."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        owned: Any = copy(value)  # with what a state_dict has besides its items
        owned.update({key: _own(item) for key, item in value.items()})
        return owned
    return type(value)(_own(item) for item in value) if type(value) in (list, tuple) else value
