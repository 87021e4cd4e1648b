"""Check whether the tensors of a checkpoint are those of a net, or of a LightningModule of the user's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from start_training.runs.checkpoint import NET, net_state

_OTHERS = ("metrics.", "task_loss.")  # prefixes of a TrainingModule's metrics and loss in its state_dict


def check_fits(checkpoint: Mapping[str, Any], net: nn.Module, path: str | Path) -> None:
    """Raise ValueError if the checkpoint's parameters differ from the net's in name or shape.

    Args:
        checkpoint: from `load_checkpoint`.
        net: the net to load the parameters into.
        path: path of the checkpoint, for the error message.
    """
    if "epoch_losses" not in checkpoint:
        raise ValueError(
            f"ckpt_path = {path}: the checkpoint is of another task, a LightningModule; set task of that run"
        )
    saved, built = _shapes(net_state(checkpoint)), _shapes(net.state_dict())
    if other := [name for name in checkpoint["state_dict"] if not name.startswith((NET, *_OTHERS))]:
        raise ValueError(f"ckpt_path = {path}: the checkpoint has another architecture (it has a parameter {other[0]})")
    _check_same_shapes(saved, built, path)


def check_module_fits(checkpoint: Mapping[str, Any], module: nn.Module, path: str | Path) -> None:
    """Raise ValueError if the checkpoint's tensors differ from those of a user's LightningModule in name or shape.

    Args:
        checkpoint: from `load_checkpoint`.
        module: the module to load the tensors into.
        path: path of the checkpoint, for the error message.
    """
    _check_same_shapes(_shapes(checkpoint["state_dict"]), _shapes(module.state_dict()), path)


def _check_same_shapes(saved: Mapping[str, Any], built: Mapping[str, Any], path: str | Path) -> None:
    for name in dict.fromkeys([*built, *saved]):
        if saved.get(name) != built.get(name):
            raise ValueError(
                f"ckpt_path = {path}: the checkpoint has another architecture ({name}: "
                f"{_format_shape(saved.get(name))} in the checkpoint, {_format_shape(built.get(name))} in this config)"
            )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _format_shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
