"""Read a checkpoint, and tell whether a net can take it."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_PREFIX = "net."  # the net's place in the Classifier


def load_checkpoint(path: str | Path, setting: str = "ckpt_path") -> dict[str, Any]:
    """The checkpoint at `path`: plain data and tensors, loaded as such.

    Raises ValueError where there is none, or what is there is not a whole checkpoint.
    """
    if not Path(path).is_file():
        raise ValueError(f"{setting} = {path}: there is no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise ValueError(f"{setting} = {path}: is not a whole checkpoint ({str(error).splitlines()[0]})") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "global_step" not in checkpoint:
        raise ValueError(f"{setting} = {path}: is not a checkpoint of a run")
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


def net_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The net's own state_dict out of a Classifier's checkpoint."""
    state = checkpoint["state_dict"]
    return {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _say(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
