"""Load a checkpoint, and check whether it matches a net, an optimizer and a schedule."""

import inspect
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from start_training.files.damaged_file import require
from start_training.models.run_length import LENGTHS
from start_training.ranks import is_rank_zero
from start_training.runs.checkpoint_structure import check_same_kind, check_structure
from start_training.runs.directory import RunDirectory
from start_training.settings import described, one_line

PARTS = {"state_dict", "global_step", "loops", "optimizer_states", "random_states", "callbacks"}
NET = "net."  # prefix of the net's parameters in the state_dict of a TrainingModule
_TRIED = ("start_training", "pytorch_lightning")  # packages whose callbacks can load a state before training


def load_checkpoint(path: str | Path, setting: str = "ckpt_path") -> dict[str, Any]:
    """Load the checkpoint file at `path`.

    Only plain data and tensors are unpickled (`weights_only=True`), so a foreign file cannot run code.

    Args:
        path: the checkpoint file.
        setting: name of the setting that holds the path, for error messages.
    Raises:
        ValueError: the file does not exist, is damaged, or is not a checkpoint of a run.
        OSError: the file cannot be read, for example because of its permissions.
    """
    if not Path(path).is_file():
        raise ValueError(f"{setting} = {path}: {'must be a regular file' if Path(path).exists() else 'no such file'}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not compare checksums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):  # say nothing about the file
        raise
    except Exception as error:  # torch can raise anything on a damaged file
        raise ValueError(f"{setting} = {path}: not a checkpoint, or a damaged one ({described(error)})") from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= PARTS:
        raise ValueError(f"{setting} = {path}: not a checkpoint of a run, which would hold {', '.join(sorted(PARTS))}")
    with named_checkpoint(path, setting):
        check_structure(checkpoint)
    return checkpoint


@contextmanager
def named_checkpoint(path: str | Path, setting: str = "ckpt_path") -> Iterator[None]:
    """Turn an error in the block, which uses parts of a checkpoint, into a ValueError that names the checkpoint."""
    try:
        yield
    except Exception as error:  # classes of a user may raise anything on a state that is not theirs
        text = one_line(error) if isinstance(error, ValueError) else described(error)
        raise ValueError(f"{setting} = {path}: the checkpoint is malformed ({text})") from error


def load_newest(run: RunDirectory) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint from which a job of a sweep resumes its run: last.ckpt, or if that is damaged previous.ckpt.

    A damaged checkpoint is reported on stderr.

    Returns:
        Its path and content; None if the run ended, failed, or left no checkpoint that can be read, and so begins anew.
    """
    paths = [path for path in (run.checkpoint, run.previous_checkpoint) if run.resumable and path.exists()]
    for number, path in enumerate(paths, 1):
        try:
            return path, load_checkpoint(path)
        except ValueError as error:
            run.damaged_checkpoints.append(path)
            instead = f"resuming from {paths[number].name}" if number < len(paths) else "beginning anew"
            if is_rank_zero():
                print(f"{error}; {instead}", file=sys.stderr)
    return None


def check_optimizer_fits(
    checkpoint: Mapping[str, Any], optimizer: Optimizer, schedule: LRScheduler | None, path: str | Path
) -> None:
    """Raise ValueError if the checkpoint has another optimizer or schedule, or other settings of them.

    Resuming would silently restore the settings of the checkpoint. Settings that the schedule changes during training
    are not compared; of the learning rate, the initial value is.

    Args:
        checkpoint: from `load_checkpoint`.
        optimizer: the optimizer of this run.
        schedule: its schedule; None: constant learning rate.
        path: path of the checkpoint, for the error message.
    """
    built_schedule = schedule.state_dict() if schedule is not None else {}
    states = checkpoint.get("lr_schedulers")
    if "schedule" not in built_schedule:  # torch's schedules do not state their class
        check_schedule_fits(checkpoint, schedule)
    if schedule is not None and states and states[0].get("schedule") == built_schedule.get("schedule"):
        comparable = {key: value for key, value in built_schedule.items() if key not in LENGTHS}  # they may differ
        with named_checkpoint(path):
            check_same_kind({**states[0]}, comparable, "lr_schedulers[0]")
    check_schedule_fits(checkpoint, schedule)
    saved, built = (state["param_groups"] for state in (checkpoint["optimizer_states"][0], optimizer.state_dict()))
    names = {*inspect.signature(type(optimizer)).parameters}  # of settings; other entries change in training
    if [group.keys() & names for group in saved] != [group.keys() & names for group in built]:
        raise ValueError(
            f"ckpt_path = {path}: the checkpoint is of another optimizer than {type(optimizer).__name__}; "
            "set the optimizer of that run"
        )
    with named_checkpoint(path):
        _check_states_fit(checkpoint["optimizer_states"][0], optimizer)
        keeps_state = any(group.get("momentum") or "betas" in group for group in saved)
        if keeps_state and checkpoint["global_step"]:
            require(checkpoint["optimizer_states"][0]["state"], "the states of the optimizer's parameters are missing")
        before = [_settings(group, schedule) for group in saved]
    for saved_settings, built_group in zip(before, built, strict=True):
        settings = _settings(built_group, schedule)
        _check_same("optimizer", saved_settings, {name: settings[name] for name in settings if name in names})


def check_callbacks_fit(checkpoint: Mapping[str, Any] | None, callbacks: Sequence[Any], path: str | Path) -> None:
    """Raise ValueError if a callback of this project or of Lightning cannot load its state in the checkpoint.

    Callbacks of other packages are not tried: they may need what Lightning does before it loads their states.

    Args:
        checkpoint: from `load_checkpoint`; None for a new run, which has no states to load.
        callbacks: the callbacks of this run, which load their states later, too.
        path: path of the checkpoint, for the error message.
    """
    for callback in callbacks if checkpoint else ():
        assert checkpoint is not None
        state = checkpoint["callbacks"].get(callback.state_key)
        if state is not None and type(callback).__module__.partition(".")[0] in _TRIED:
            with named_checkpoint(path):
                name = f"callbacks[{callback.state_key!r}]"
                own = callback.state_dict()
                check_same_kind(state, {key: own[key] for key in own if key in state}, name)
                callback.load_state_dict(deepcopy(state))


def _check_states_fit(saved: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Raise ValueError if the tensors of an optimizer's saved state do not have the shapes of its parameters."""
    built = optimizer.state_dict()["param_groups"]
    for saved_group, built_group in zip(saved["param_groups"], built, strict=True):
        require(saved_group["params"] == built_group["params"], "the optimizer has other parameters")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, state in saved["state"].items():
        for name, value in state.items():
            of_torch = type(optimizer).__module__.startswith("torch.")  # others may keep flat or cut tensors
            shaped = not isinstance(value, Tensor) or value.ndim == 0 or value.shape == parameters[number].shape
            shaped = shaped or not of_torch
            require(shaped, f"{name} of parameter {number} has another shape than the parameter")
            plain = value is None or isinstance(value, Tensor | int | float)
            require(plain, f"{name} of parameter {number} is no tensor")


def check_schedule_fits(checkpoint: Mapping[str, Any], schedule: LRScheduler | None) -> None:
    """Raise ValueError if the checkpoint has another schedule, or other settings of it; run lengths may differ.

    Args:
        checkpoint: from `load_checkpoint`.
        schedule: the schedule of this run; None: constant learning rate.
    """
    saved = next(iter(checkpoint.get("lr_schedulers") or [{}]))
    built = schedule.state_dict() if schedule is not None else {}
    if saved.keys() != built.keys() or saved.get("schedule") != built.get("schedule"):
        name = "constant" if schedule is None else type(schedule).__name__
        other = saved.get("schedule", "another") if saved else "constant"
        raise ValueError(f"schedule = {name}: must be that of the resumed run, {other}")
    if schedule is not None:
        parameters = inspect.signature(type(schedule)).parameters
        settings = [name for name in parameters if name in saved and name not in ("last_epoch", *LENGTHS)]
        _check_same("schedule", *({name: state[name] for name in settings} for state in (saved, built)))


def _check_same(group: str, saved: Mapping[str, Any], built: Mapping[str, Any]) -> None:
    for name, value in built.items():
        if not _same(value, saved[name]):
            raise ValueError(
                f"{group}.{name} = {value!r}: must be that of the resumed run in ckpt_path, {saved[name]!r}"
            )


def _same(value: Any, saved: Any) -> bool:
    """Return whether two values of a setting are equal; a tensor equals a number if it holds that number alone."""
    one, other = (item.tolist() if isinstance(item, Tensor) else item for item in (value, saved))
    return bool(one == other)


def interrupted_epoch(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the state of the training data loader in the middle of an epoch; None if saved between epochs."""
    loops = checkpoint["loops"]["fit_loop"]
    loader, *_ = loops["state_dict"].get("combined_loader") or [None]
    return loader or None if stopped_within_epoch(checkpoint) else None


def stopped_within_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was saved in the middle of an epoch."""
    return not checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]


def net_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state_dict of the net from the checkpoint of a TrainingModule."""
    state = checkpoint["state_dict"]
    return {name.removeprefix(NET): value for name, value in state.items() if name.startswith(NET)}


def _settings(group: Mapping[str, Any], schedule: LRScheduler | None) -> dict[str, Any]:
    """Return the settings of an optimizer's parameter group, without those that the schedule changes in training."""
    settings = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
    if schedule is None:
        return settings
    settings["lr"] = group["initial_lr"]
    if getattr(schedule, "momentum", None) or getattr(schedule, "cycle_momentum", False):  # src/schedules, torch
        settings.pop("momentum", None)
        if "betas" in settings:
            settings["betas"] = list(settings["betas"][1:])
    return settings
