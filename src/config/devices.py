"""Checks of the trainer's settings before the Lightning Trainer is built."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from start_training.config.mistakes import check_keys
from start_training.settings import number_from_zero, one_of, positive_integer, whole_number

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
GIVEN = ("logger", "callbacks", "default_root_dir", "enable_model_summary", "num_sanity_val_steps", "log_every_n_steps")


def batches(name: str, value: object) -> float:
    """Constraint for a number of batches: a whole number of at least 1, or a fraction of all batches as a float."""
    if isinstance(value, float) and 0 < value <= 1:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{name} = {value!r}: must be a whole number of at least 1, or a fraction above 0, at most 1.0"
        )
    return value


def batches_from_zero(name: str, value: object) -> float:
    """Constraint for a number of batches that may be 0, for none."""
    return 0 if value == 0 and not isinstance(value, bool) else batches(name, value)


def or_no_limit(name: str, value: object) -> int:
    """Constraint for a number of epochs or steps: a whole number of at least 1, or -1 for no limit."""
    return -1 if value == -1 else positive_integer(name, value)


def time_limit(name: str, value: object) -> object:
    """Constraint for max_time: a time above 0 that Lightning can read, as 00:02:00:00 for two hours."""
    try:
        seconds = Timer(duration=cast(Any, value)).time_remaining()
    except (MisconfigurationException, TypeError, OverflowError) as error:
        raise ValueError(f"{name} = {value!r}: must be a time, as 00:02:00:00 (days:hours:minutes:seconds)") from error
    if seconds is not None and seconds <= 0:
        raise ValueError(f"{name} = {value!r}: must be above 0, as 00:02:00:00 (days:hours:minutes:seconds)")
    return value


def validation_interval(name: str, value: object) -> object:
    """Constraint for val_check_interval: batches, a fraction of an epoch, or a time, which Lightning reads."""
    return time_limit(name, value) if isinstance(value, str | Mapping) else batches(name, value)


_CHECKS: dict[str, Callable[[str, object], object]] = {  # of settings that are not null
    "num_nodes": positive_integer,
    "accumulate_grad_batches": positive_integer,
    "check_val_every_n_epoch": positive_integer,
    "gradient_clip_val": number_from_zero,
    "gradient_clip_algorithm": lambda name, value: one_of(name, value, ("norm", "value")),
    "limit_train_batches": batches,
    "limit_val_batches": batches_from_zero,
    "limit_test_batches": batches_from_zero,
    "limit_predict_batches": batches_from_zero,
    "val_check_interval": validation_interval,
    "max_epochs": or_no_limit,
    "max_steps": or_no_limit,
    "min_epochs": whole_number,
    "min_steps": whole_number,
    "reload_dataloaders_every_n_epochs": whole_number,
    "overfit_batches": number_from_zero,
    "max_time": time_limit,
}


def check_trainer(trainer: Mapping[str, Any] | None) -> None:
    """Raise ValueError, naming the setting, for trainer settings that are invalid, or that this machine cannot use."""
    trainer = check_trainer_settings(trainer)
    accelerator = check_accelerator("trainer.accelerator", trainer.get("accelerator", "auto"))
    devices = trainer.get("devices", "auto")
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        _check_gpus(devices)
    elif devices != "auto":
        positive_integer("trainer.devices", devices)


def check_trainer_settings(trainer: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Raise ValueError, naming the setting, for trainer settings that are invalid on every machine; return them."""
    trainer = {} if trainer is None else trainer
    if not isinstance(trainer, Mapping) or "_target_" in trainer:  # building the Trainer reports a missing _target_
        check_keys(trainer, "trainer", dict.fromkeys(GIVEN))
    for name, check in _CHECKS.items():
        if trainer.get(name) is not None:
            check(f"trainer.{name}", trainer[name])
    if trainer.get("max_epochs") == -1 and trainer.get("max_steps") in (None, -1):
        raise ValueError("trainer.max_epochs = -1: training would never end; set trainer.max_steps or max_epochs > 0")
    if trainer.get("gradient_clip_algorithm") is not None and trainer.get("gradient_clip_val") is None:
        raise ValueError(
            f"trainer.gradient_clip_algorithm = {trainer['gradient_clip_algorithm']}: has no effect without "
            "trainer.gradient_clip_val; must be left out, or gradient_clip_val set"
        )
    for name in ("fast_dev_run", "barebones"):
        if trainer.get(name):
            raise ValueError(
                f"trainer.{name} = {trainer[name]}: must be false, since such a run writes no results; for a short run "
                "set trainer.max_steps"
            )
    return trainer


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
