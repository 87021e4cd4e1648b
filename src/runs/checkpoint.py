"""Read a checkpoint, and tell whether a net can take it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

PARTS = {"state_dict", "global_step", "loops", "optimizer_states", "random_states"}
_PREFIX = "net."  # the net's place in the Classifier


def load_checkpoint(path: str | Path, setting: str = "ckpt_path") -> dict[str, Any]:
    """The checkpoint at `path`: plain data and tensors, loaded as such.

    Raises ValueError where there is none, or what is there is not a whole checkpoint.
    """
    if not Path(path).is_file():
        raise ValueError(f"{setting} = {path}: there is no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch passes on whatever it met in a broken file
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
        raise ValueError(f"{setting} = {path}: is not a whole checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= PARTS:
        raise ValueError(f"{setting} = {path}: is not a checkpoint of a run, which holds {', '.join(sorted(PARTS))}")
    return checkpoint


def check_fits(checkpoint: Mapping[str, Any], net: nn.Module, path: str | Path) -> None:
    """Raises ValueError, naming the first difference, where the checkpoint is of another architecture."""
    saved, built = _shapes(net_state(checkpoint)), _shapes(net.state_dict())
    for name in dict.fromkeys([*built, *saved]):
        if saved.get(name) != built.get(name):
            raise ValueError(
                f"ckpt_path = {path}: is of another architecture ({name}: {_say(saved.get(name))} in the checkpoint, "
                f"{_say(built.get(name))} in this config's net)"
            )


def check_optimizer_fits(checkpoint: Mapping[str, Any], optimizer: Optimizer, path: str | Path) -> None:
    """Raises ValueError where the checkpoint is of another optimizer, or of another setting of it.

    Resuming would restore the checkpoint's settings without a word; under a schedule they change by themselves.
    """
    saved, built = (_settings(state) for state in (checkpoint["optimizer_states"][0], optimizer.state_dict()))
    if saved.keys() != built.keys():
        raise ValueError(f"ckpt_path = {path}: is of another optimizer than {type(optimizer).__name__}")
    for name, value in built.items():
        if value != saved[name] and not checkpoint.get("lr_schedulers"):
            raise ValueError(
                f"optimizer.{name} = {value!r}: the run in ckpt_path has {saved[name]!r}, and goes on with it"
            )


def interrupted_epoch(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where in an epoch the training loader stood; None where the checkpoint was taken between epochs."""
    loops = checkpoint["loops"]["fit_loop"]
    [loader] = loops["state_dict"].get("combined_loader") or [None]
    return None if loops["epoch_loop.batch_progress"]["is_last_batch"] else loader


def net_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The net's own state_dict out of a Classifier's checkpoint."""
    state = checkpoint["state_dict"]
    return {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state["param_groups"][0].items() if name not in ("params", "initial_lr")}


def _say(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
