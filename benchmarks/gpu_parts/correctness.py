"""Check that ActivationLengths records the same on the device as on the CPU, for the same net and three batches.

All rows of lengths/ are compared: steps, layers and counts have to be equal, and the largest relative deviation of
means and variances over samples has to be within a tolerance. A negative control trains on the device with inputs whose
lengths differ by three tolerances, which the comparison has to detect. On the CPU the net has the same precision and is
not compiled; with bfloat16 autocast the two devices round differently, and deviate from each other by as much as either
deviates from float32.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from benchmarks._nets import Batch, TimedNet, dense, resnet
from benchmarks._stepped_fit import silent_trainer
from benchmarks.gpu_parts.parts import FINDING, Case
from start_training.callbacks.activation_lengths import ActivationLengths

STEPS = 3


class Tolerance(NamedTuple):
    """Largest allowed relative deviations of the means and of the variances of lengths between two trainings."""

    mean: float
    variance: float


Tables = tuple[pd.DataFrame, pd.DataFrame]  # lengths/ and steps/ of a training
FLOAT32, TF32, BF16 = Tolerance(1e-4, 1e-3), Tolerance(3e-3, 3e-2), Tolerance(1e-2, 1e-1)


class BatchList(list[Batch]):
    """A loader with these batches; Lightning would interpret a plain list as a list of loaders."""


def cases(device: str, *, tiny: bool) -> list[Case]:
    """Return cases for two nets in several precisions, and for a compiled net, which takes longest."""
    fully, residual = (dense(3, 16, batch=24), resnet(24, 64)) if tiny else (dense(10, 500), resnet(96, 64))
    bf16: dict[str, Any] = {"tolerance": BF16, "precision": "bf16-mixed"}
    tf32: dict[str, Any] = {"tolerance": TF32, "tf32": True}
    return [
        Case("fully connected, float32", partial(measure, fully, device)),
        Case("fully connected, bf16", partial(measure, fully, device, **bf16)),
        Case("ResNet-18, float32", partial(measure, residual, device)),
        *([] if tiny else [Case("ResNet-18, bf16", partial(measure, residual, device, **bf16))]),
        *([] if device == "cpu" else [Case("ResNet-18, TF32", partial(measure, residual, device, **tf32))]),
        *([] if tiny else [Case("fully connected, compiled", partial(measure, fully, device, compiled=True), 3.0)]),
    ]


def measure(
    net: TimedNet,
    device: str,
    seconds: float,
    *,
    tolerance: Tolerance = FLOAT32,
    precision: str = "32-true",
    compiled: bool = False,
    tf32: bool = False,
) -> dict[str, Any]:
    """Train on the CPU, on the device, and on the device with longer inputs as a control; return the `verdict`."""
    reference = record(net, "cpu", precision=precision)
    on_device = partial(record, net, device, precision=precision, compiled=compiled)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32):  # by default a GPU uses TF32
        ours = on_device()
        control = on_device(scale=(1 + 3 * tolerance.mean) ** 0.5)  # changes the mean length by three tolerances
    result = verdict(deviations(reference, ours), deviations(reference, control), tolerance)
    return {"net": net.name, "precision": precision, "compiled": compiled, **result}


def record(
    net: TimedNet, device: str, *, precision: str = "32-true", compiled: bool = False, scale: float = 1.0
) -> Tables:
    """Train a net for a few steps, each on an equal part of its batch, and return the recorded tables.

    Weights and batches are drawn on the CPU for any device, to which Lightning moves them.

    Args:
        net: The net to train.
        device: `cpu` or `cuda`.
        precision: `precision` of Lightning's Trainer.
        compiled: Whether the net is compiled.
        scale: Factor by which the inputs are multiplied.
    """
    (module, _), (inputs, targets) = net.twins("cpu")
    batches = BatchList(zip((inputs * scale).chunk(STEPS), targets.chunk(STEPS), strict=True))
    with tempfile.TemporaryDirectory() as directory:
        settings: dict[str, Any] = {"precision": precision, "limit_val_batches": 0, "default_root_dir": directory}
        trainer = silent_trainer(device, callbacks=ActivationLengths(directory), **settings)
        trainer.fit(net.classifier(module, compiled=compiled), batches, [])
        return read_tables(Path(directory))


def read_tables(directory: Path) -> Tables:
    return pd.read_parquet(directory / "lengths"), pd.read_parquet(directory / "steps")


def deviations(one: Tables, other: Tables) -> dict[str, float]:
    """Return the maxima over steps and layers of |other / one − 1| for means and variances of lengths, and for losses.

    A maximum is infinite if a value is not finite.

    Raises:
        ValueError: the tables have different steps, layers or counts.
    """
    (lengths, steps), (other_lengths, other_steps) = one, other
    keys = ["step", "layer", "name", "count"]
    if not lengths[keys].equals(other_lengths[keys]) or len(steps) != len(other_steps):
        raise ValueError(
            f"the tables have different steps, layers or counts ({len(lengths)} and {len(other_lengths)} rows)"
        )
    pairs = {name: (lengths[name], other_lengths[name]) for name in ("mean", "variance")}
    pairs["loss"] = steps["loss"], other_steps["loss"]
    with np.errstate(all="ignore"):
        apart = {name: np.abs(np.divide(second, first) - 1).max() for name, (first, second) in pairs.items()}
    return {name: float(value) if np.isfinite(value) else float("inf") for name, value in apart.items()}


def verdict(apart: dict[str, float], control: dict[str, float], tolerance: Tolerance) -> dict[str, Any]:
    """Return whether the tables agree, and whether the comparison detects the control's difference."""
    agree = apart["mean"] <= tolerance.mean and apart["variance"] <= tolerance.variance
    seen = control["mean"] > tolerance.mean
    return {
        "agree": agree,
        "control_seen": seen,
        "apart": apart,
        "control": control,
        "tolerance": tolerance._asdict(),
        FINDING: f"{'agree' if agree else 'DIFFER'}: means differ by {apart['mean']:.1e} (tolerance {tolerance.mean:g})"
        f", variances by {apart['variance']:.1e} (tolerance {tolerance.variance:g})"
        f"; control by {control['mean']:.1e}, {'detected' if seen else 'NOT DETECTED'}",
    }
