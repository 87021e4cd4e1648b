"""Checks of the trainer's settings before the Lightning Trainer is built."""

from collections.abc import Mapping
from typing import Any

import torch

from start_training.settings import number_from_zero, one_of, positive_integer, whole_number

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the setting, for invalid trainer settings.

    Checked are accelerator, devices, num_nodes, accumulate_grad_batches, gradient_clip_val, max_epochs and max_steps.
    """
    accelerator = check_accelerator("trainer.accelerator", trainer.get("accelerator", "auto"))
    devices = trainer.get("devices", "auto")
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        _check_gpus(devices)
    elif devices != "auto":
        positive_integer("trainer.devices", devices)
    positive_integer("trainer.num_nodes", trainer.get("num_nodes", 1))
    positive_integer("trainer.accumulate_grad_batches", trainer.get("accumulate_grad_batches", 1))
    if trainer.get("gradient_clip_val") is not None:
        number_from_zero("trainer.gradient_clip_val", trainer["gradient_clip_val"])
    for name in ("max_epochs", "max_steps"):
        if trainer.get(name) not in (None, -1):
            positive_integer(f"trainer.{name}", trainer[name])
    if trainer.get("max_epochs") == -1 and trainer.get("max_steps") in (None, -1):
        raise ValueError("trainer.max_epochs = -1: training would never end; set trainer.max_steps or max_epochs > 0")


def check_accelerator(name: str, accelerator: object) -> str:
    """Return the accelerator if it is known and this machine has it, else raise ValueError.

    Args:
        name: name of the setting, for the error message.
        accelerator: the value of the setting.
    """
    chosen = one_of(name, accelerator, ACCELERATORS)
    if chosen in ("gpu", "cuda") and not torch.cuda.device_count():
        raise ValueError(f"{name} = {chosen!r}: this machine has no CUDA GPU; use cpu")
    if chosen == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"{name} = {chosen!r}: this machine has no Apple GPU; use cpu")
    return chosen


def _check_gpus(devices: Any) -> None:
    available = torch.cuda.device_count()
    if devices in ("auto", -1, "-1"):
        return
    if isinstance(devices, list) and devices:
        if max(whole_number("trainer.devices", device) for device in devices) >= available:
            raise ValueError(f"trainer.devices = {devices}: must be GPU numbers from 0 to {available - 1}")
    elif positive_integer("trainer.devices", devices) > available:
        raise ValueError(f"trainer.devices = {devices}: must be at most {available}, the number of GPUs")
