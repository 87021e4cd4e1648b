"""Checks of a trainer's settings, before Lightning sees them."""

from collections.abc import Mapping
from typing import Any

import torch

from start_training.settings import number_from_zero, one_of, positive_integer, whole_number

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Raises ValueError, naming the setting, for a device that is not there or a length of training below one."""
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
        raise ValueError("trainer.max_epochs = -1: needs a trainer.max_steps, or training would never end")


def check_accelerator(name: str, accelerator: object) -> str:
    """The accelerator, if this machine has one; raises ValueError otherwise."""
    chosen = one_of(name, accelerator, ACCELERATORS)
    if chosen in ("gpu", "cuda") and not torch.cuda.device_count():
        raise ValueError(f"{name} = {chosen!r}: this machine has no GPU; cpu does without")
    if chosen == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"{name} = {chosen!r}: this machine has none; cpu does without")
    return chosen


def _check_gpus(devices: Any) -> None:
    available = torch.cuda.device_count()
    if devices in ("auto", -1, "-1"):
        return
    if isinstance(devices, list) and devices:
        if max(whole_number("trainer.devices", device) for device in devices) >= available:
            raise ValueError(f"trainer.devices = {devices}: this machine has GPUs 0 to {available - 1}")
    elif positive_integer("trainer.devices", devices) > available:
        raise ValueError(f"trainer.devices = {devices}: this machine has {available} GPU{'s' if available > 1 else ''}")
