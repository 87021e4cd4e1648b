"""What ActivationLengths records in a short training, and how far two records lie apart."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks._interleaved import silent_trainer
from benchmarks._nets import Case, build_twins
from benchmarks.callback import classifier
from start_training.callbacks.activation_lengths import ActivationLengths

STEPS = 3
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Tolerance:
    """How far apart two records of the same training may lie, relatively, at most: means and variances of lengths."""

    mean: float
    variance: float

    @property
    def control_scale(self) -> float:
        """Of inputs, whose mean length it moves by three tolerances: a difference that has to be seen."""
        return (1 + 3 * self.mean) ** 0.5


@dataclass(frozen=True)
class Lengths:
    """The tables of a training."""

    lengths: pd.DataFrame
    steps: pd.DataFrame

    @classmethod
    def read(cls, directory: Path) -> "Lengths":
        return cls(*(pd.read_parquet(directory / name) for name in ("lengths", "steps")))


def record(
    case: Case, device: str, *, precision: str = "32-true", compiled: bool = False, scale: float = 1.0
) -> Lengths:
    """Train the case's net for a few steps, an equal part of its batch each. scale: times this the inputs.

    Net and batches are those of the CPU, on whatever device: Lightning moves them.
    """
    (net, _), (inputs, targets) = build_twins(case, "cpu")
    batches = list(zip((inputs * scale).chunk(STEPS), targets.chunk(STEPS), strict=True))
    with tempfile.TemporaryDirectory() as directory:
        settings: dict[str, Any] = {"precision": precision, "limit_val_batches": 0, "default_root_dir": directory}
        trainer = silent_trainer(device, callbacks=ActivationLengths(directory), **settings)
        trainer.fit(classifier(net, case, compiled), Batches(batches), [])
        return Lengths.read(Path(directory))


class Batches:
    """A loader of just these batches."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)


def deviations(one: Lengths, other: Lengths) -> dict[str, float]:
    """|other / one - 1|, at most over steps and layers, of the means and variances of lengths, and of the loss.

    Infinite where either is not finite. Raises ValueError where steps, layers or counts are not the same.
    """
    keys = ["step", "layer", "name", "count"]
    if not one.lengths[keys].equals(other.lengths[keys]) or len(one.steps) != len(other.steps):
        raise ValueError(f"the records are not of the same layers and steps: {len(one.lengths)}, {len(other.lengths)}")
    pairs = {name: (one.lengths[name], other.lengths[name]) for name in ("mean", "variance")}
    pairs["loss"] = one.steps["loss"], other.steps["loss"]
    return {name: _apart(np.asarray(first), np.asarray(second)) for name, (first, second) in pairs.items()}


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        apart = float(np.abs(other / one - 1).max())
    return apart if np.isfinite(apart) else float("inf")


def verdict(apart: dict[str, float], control: dict[str, float], tolerance: Tolerance) -> dict[str, Any]:
    """Whether the records agree, and whether the comparison would have seen a difference of three tolerances."""
    agree = apart["mean"] <= tolerance.mean and apart["variance"] <= tolerance.variance
    seen = control["mean"] > tolerance.mean
    words = f"{'agree' if agree else 'DIFFER'}: means {apart['mean']:.1e} apart (at most {tolerance.mean:g})"
    words += f", variances {apart['variance']:.1e} ({tolerance.variance:g})"
    words += f"; control {control['mean']:.1e}, {'seen' if seen else 'NOT SEEN'}"
    told = {"apart": apart, "control": control, "tolerance": vars(tolerance)}
    return {"agree": agree, "control_seen": seen, **told, "finding": words}


def without_tf32() -> Any:
    """A context in which convolutions of float32 are of float32, too; by default a GPU takes TF32 for them."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
