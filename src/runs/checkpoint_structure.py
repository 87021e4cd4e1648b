"""Check the structure of a loaded checkpoint, so that nothing is restored from a malformed one."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from packaging.version import InvalidVersion, Version
from torch import Tensor

from start_training.files.damaged_file import require

_ALL = ("ready", "completed", "started", "processed")
_TWO, _THREE = _ALL[:2], _ALL[:3]
_LOOP = {  # counters of Lightning's fit loop: the names under `total` and under `current`
    "epoch_progress": _ALL,
    "epoch_loop.batch_progress": _ALL,
    "epoch_loop.scheduler_progress": _TWO,
    "epoch_loop.val_loop.batch_progress": _ALL,
    "epoch_loop.manual_optimization.optim_step_progress": _TWO,
}
_STATES = (
    "state_dict",
    "epoch_loop.state_dict",
    "epoch_loop.automatic_optimization.state_dict",
    "epoch_loop.manual_optimization.state_dict",
    "epoch_loop.val_loop.state_dict",
)
_OPTIMIZATION = "epoch_loop.automatic_optimization.optim_progress"


def check_structure(checkpoint: Mapping[str, Any]) -> None:
    """Raise ValueError, which says what is wrong, if a checkpoint of a run lacks a part or has one of another type.

    Args:
        checkpoint: A dictionary with the parts of a checkpoint.
    """
    state = _mapping(checkpoint, "state_dict")
    for name, value in state.items():
        require(
            isinstance(name, str) and isinstance(value, Tensor), f"state_dict[{name!r}] is not a tensor with a name"
        )
    steps = _count(checkpoint, "global_step")
    _count(checkpoint, "epoch")
    version = checkpoint.get("pytorch-lightning_version")
    require(_is_version(version), f"pytorch-lightning_version is {version!r}, not a version")
    _check_loops(_mapping(checkpoint, "loops"), steps)
    _check_optimizers(checkpoint, steps)
    schedules = checkpoint.get("lr_schedulers")
    right = isinstance(schedules, list) and all(isinstance(item, dict) for item in schedules)
    require(right, "lr_schedulers is not a list of dictionaries")
    callbacks = _mapping(checkpoint, "callbacks")
    for name, value in callbacks.items():
        require(
            isinstance(name, str) and isinstance(value, dict), f"callbacks[{name!r}] is not a dictionary with a name"
        )
    _check_random_states(checkpoint.get("random_states"))
    if not checkpoint.keys() & {"epoch_losses", "epoch_samples"}:
        return  # of a LightningModule of the user's
    losses, samples = (_numbers(checkpoint, name) for name in ("epoch_losses", "epoch_samples"))
    require(len(losses) == len(samples), "epoch_losses and epoch_samples differ in length")
    require(all(value > 0 for value in samples), "epoch_samples has a number that is not above 0")


def check_same_kind(saved: Any, built: Any, name: str) -> None:
    """Raise ValueError unless a saved state has the entries of a newly built one, of the same types.

    Args:
        saved: From the checkpoint.
        built: The state of an object that was built with the same settings; None stands for any value.
        name: What the state is called in the message.
    """
    if built is None:
        return
    if isinstance(built, Mapping):
        require(isinstance(saved, Mapping), f"{name} is not a dictionary")
        for key, value in built.items():
            require(key in saved, f"{name} lacks {key}")
            check_same_kind(saved[key], value, f"{name}[{key!r}]")
        return
    kinds: tuple[Any, ...] = (bool, (int, float), str, (list, tuple), Tensor)
    kind = next((kind for kind in kinds if isinstance(built, kind)), object)
    right = isinstance(saved, kind) and (kind is bool) == isinstance(saved, bool) if kind is not object else True
    require(right, f"{name} is {_short(saved)}, where {_short(built)} is expected")
    if isinstance(built, list | tuple) and built and not isinstance(built[0], Mapping | list | tuple):
        for number, item in enumerate(saved):
            check_same_kind(item, built[0], f"{name}[{number}]")


def _check_loops(loops: Mapping[str, Any], steps: int) -> None:
    fit = _mapping(loops, "fit_loop", "loops")
    for name in _STATES:
        _mapping(fit, name, "loops")
    for name, counts in _LOOP.items():
        _check_progress(fit.get(name), counts, name)
    for name in ("epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"):
        require(isinstance(fit[name].get("is_last_batch"), bool), f"{name}: is_last_batch is not true or false")
    stepped = fit["epoch_loop.state_dict"].get("_batches_that_stepped", 0)
    require(_is_count(stepped), f"_batches_that_stepped is {_short(stepped)}, not a number of steps")
    optimizer = _mapping(_mapping(fit, _OPTIMIZATION, "loops"), "optimizer", _OPTIMIZATION)
    _check_progress(optimizer.get("step"), _TWO, "optimizer step")
    _check_progress(optimizer.get("zero_grad"), _THREE, "optimizer zero_grad")
    done = optimizer["step"]["total"]["completed"]
    done = done or fit["epoch_loop.manual_optimization.optim_step_progress"]["total"]["completed"]
    require(done == steps, f"global_step is {steps}, but the loops have counted {done} optimizer steps")
    loaders = fit["state_dict"].get("combined_loader")
    require(loaders is None or isinstance(loaders, list), "combined_loader is not a list of states")
    for loader in loaders or ():
        _check_loader(loader)
    for name in ("validate_loop", "test_loop", "predict_loop"):
        loop = _mapping(loops, name, "loops")
        _mapping(loop, "state_dict", name)
        _check_progress(loop.get("batch_progress"), _ALL, f"{name}: batch_progress")


def _check_loader(loader: Any) -> None:
    require(isinstance(loader, dict), "the state of the training loader is not a dictionary")
    own = ("epoch", "batches", "samples", "batch_size", "seed")
    if loader.keys() & set(own):  # of this project; other loaders have other states
        for name in own:
            _count(loader, name)


def _check_progress(progress: Any, names: tuple[str, ...], place: str) -> None:
    require(isinstance(progress, dict), f"{place} is missing, or no dictionary")
    for part in ("total", "current"):
        counts = _mapping(progress, part, place)
        for name in names:
            _count(counts, name)


def _check_optimizers(checkpoint: Mapping[str, Any], steps: int) -> None:
    optimizers = checkpoint.get("optimizer_states")
    require(isinstance(optimizers, list) and len(optimizers) > 0, "optimizer_states is not a list of states")
    for state in optimizers or ():
        _check_optimizer(_mapping({"optimizer_states": state}, "optimizer_states"), steps)


def _check_optimizer(state: Mapping[str, Any], steps: int) -> None:
    groups = state.get("param_groups")
    require(isinstance(groups, list) and bool(groups), "param_groups is not a list of parameter groups")
    numbers: list[int] = []
    for group in groups or ():
        require(isinstance(group, dict), "a parameter group is not a dictionary")
        params = group.get("params")
        require(isinstance(params, list) and all(map(_is_count, params)), "params is not a list of whole numbers")
        numbers += params
        for name in ("lr", "initial_lr"):
            require(_is_number(group.get(name, 0.0 if name == "initial_lr" else None)), f"{name} is not a number")
    states = _mapping(state, "state", "optimizer_states")
    require(set(states) <= set(numbers), "an optimizer state belongs to no parameter")
    kinds: list[dict[str, str]] = []
    of_torch = all("maximize" in group for group in groups or ())  # others may keep a number for a tensor of zeros
    for number, entry in states.items():
        require(isinstance(entry, dict), f"the optimizer state of parameter {number} is not a dictionary")
        done = entry.get("step", 0)
        whole = _is_number(done) and 0 <= float(done) <= steps and float(done).is_integer()
        require(whole, f"the optimizer state of parameter {number} has step {_short(done)}, not one up to {steps}")
        kinds.append({name: _kind(value) for name, value in entry.items()})
        same = kinds[-1] == kinds[0] if of_torch else kinds[-1].keys() == kinds[0].keys()
        require(same, "the optimizer states of two parameters have different entries")


def _check_random_states(states: Any) -> None:
    right = isinstance(states, Tensor) and states.dtype == torch.uint8 and states.ndim == 2 and len(states) > 0
    require(right, "random_states is not a matrix of bytes, with a row per rank")
    for row in states:
        try:
            torch.Generator().set_state(row.clone())
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"random_states has a row that is no state of torch's generator ({error})") from error


def _mapping(parent: Mapping[str, Any], name: str, place: str = "") -> dict[Any, Any]:
    value: Any = parent.get(name)
    require(isinstance(value, Mapping), f"{place and f'{place}: '}{name} is missing, or no dictionary")
    return dict(value)


def _count(parent: Mapping[str, Any], name: str) -> int:
    value = parent.get(name)
    require(_is_count(value), f"{name} is {_short(value)}, not a whole number of at least 0")
    assert isinstance(value, int)
    return value


def _numbers(parent: Mapping[str, Any], name: str) -> list[float]:
    value = parent.get(name)
    right = isinstance(value, list) and all(map(_is_number, value))
    require(right, f"{name} is not a list of numbers")
    assert isinstance(value, list)
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    one = isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
    return one or (isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value))


def _is_version(value: object) -> bool:
    try:
        return isinstance(value, str) and Version(value).major > 0
    except InvalidVersion:
        return False


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return "one number" if value.ndim == 0 else "tensor"
    return "none" if value is None else "one number" if _is_number(value) else type(value).__name__


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) < 40 else f"{text[:36]} …"
