"""Jobs trained one by one and as a group, and how far what they left is apart."""

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from src.jobs.record import Job
from src.jobs.replica_runs import train_group
from src.jobs.train import train
from src.runs.directory import FINISHED, TABLES, RunDirectory

DOUBLE = ("trainer.precision=64-true", "trainer.max_epochs=5")  # 55 steps
EXACT = 1e-9
SINGLE = 3e-7  # what a metric that was added up in float32 is uncertain by, whatever the net's precision


def jobs(root: Path, configs: Sequence[dict[str, Any]]) -> list[Job]:
    """A sweep of these."""
    return [Job(config, root / str(index), (f"run={index}",), "a-sweep") for index, config in enumerate(configs)]


def one_by_one(root: Path, configs: Sequence[dict[str, Any]]) -> list[Path]:
    """The directories of runs of their own."""
    return [job.directory for job in jobs(root, configs) if train(job)]


def together(root: Path, configs: Sequence[dict[str, Any]], **settings: float) -> list[Path]:
    """The directories of runs that train as a group."""
    group = jobs(root, configs)
    train_group(group, **settings)
    return [job.directory for job in group]


def assert_same_runs(ones: Sequence[Path], others: Sequence[Path], tolerance: float = EXACT) -> None:
    for one, other in zip(ones, others, strict=True):
        found = differences(one, other, tolerance)
        assert not found, f"{other}: {len(found)} differences, the first of which are {found[:5]}"


def differences(one: Path, other: Path, tolerance: float = EXACT) -> list[str]:
    """What is further apart than the tolerance; metrics, than float32 lets them be known."""
    return [
        f"{where}: {apart:.1e}"
        for where, apart in deviations(one, other)
        if apart > (max(tolerance, SINGLE) if "metrics" in where else tolerance)
    ]


def deviations(one: Path, other: Path) -> Iterator[tuple[str, float]]:
    """Relative deviations of all that two run directories hold; infinite where it is no matter of rounding.

    That is: which files there are, all of summary.json but `seconds`, the types and values of every table and of
    metrics.csv, and the checkpoint, the order of its keys included. Tensors are compared to their largest element.
    """
    yield from _tree("files", _files(one), _files(other))
    yield from _tree("summary", _summary(one), _summary(other))
    for name in TABLES:
        if (one / name).exists():
            yield from _table(name, *(pd.read_parquet(run / name) for run in (one, other)))
    if (one / "metrics.csv").exists():
        yield from _table("metrics.csv", *(pd.read_csv(run / "metrics.csv", dtype=float) for run in (one, other)))
    if RunDirectory(one).checkpoint.exists():
        yield from _tree("checkpoint", *(checkpoint(run) for run in (one, other)))


def checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(RunDirectory(run).checkpoint, weights_only=True)


def _files(run: Path) -> list[str]:
    """A table is joined in one file when its run has come to its end; until then its parts are no matter."""
    parts = _summary(run)["status"] not in FINISHED
    files = (file.parent if parts and file.suffix == ".parquet" else file for file in run.rglob("*") if file.is_file())
    return sorted({str(file.relative_to(run)) for file in files})


def _summary(run: Path) -> dict[str, Any]:
    summary = json.loads((run / "summary.json").read_text())
    assert summary.pop("seconds") > 0
    return summary


def _tree(where: str, one: Any, other: Any) -> Iterator[tuple[str, float]]:
    if type(one) is not type(other):
        yield f"{where}: {type(one)} {type(other)}", np.inf
    elif isinstance(one, dict):
        if list(one) != list(other):
            yield f"{where}: {list(one)} {list(other)}", np.inf
        for key in one.keys() & other.keys():
            yield from _tree(f"{where}.{key}", one[key], other[key])
    elif isinstance(one, list | tuple):
        for index, (each, its) in enumerate(zip_longest(one, other)):
            yield from _tree(f"{where}[{index}]", each, its)
    elif isinstance(one, torch.Tensor) and one.is_floating_point():
        scale = float(one.abs().max()) if one.numel() else 0.0
        yield from _array(where, one.numpy(), other.numpy(), scale)
    elif isinstance(one, float):
        yield from _array(where, np.array(one), np.array(other), abs(one))
    elif not (torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other):
        yield f"{where}: {one!r} {other!r}", np.inf


def _table(where: str, one: pd.DataFrame, other: pd.DataFrame) -> Iterator[tuple[str, float]]:
    if list(one.dtypes.items()) != list(other.dtypes.items()) or len(one) != len(other):
        yield f"{where}: {one.dtypes.to_dict()} {len(one)} {other.dtypes.to_dict()} {len(other)}", np.inf
        return
    for name in one:
        if pd.api.types.is_float_dtype(one[name]):
            values, its = (table[name].to_numpy(float) for table in (one, other))
            # A variance is uncertain by what rounding does to the squares, however small it is.
            with np.errstate(over="ignore"):
                scale = np.abs(values) + (1e-6 * one["mean"].to_numpy() ** 2 if name == "variance" else 0)
            yield from _array(f"{where}.{name}", values, its, scale)
        elif not one[name].equals(other[name]):
            yield f"{where}.{name}", np.inf


def _array(where: str, one: Any, other: Any, scale: Any) -> Iterator[tuple[str, float]]:
    same = (one == other) | (np.isnan(one) & np.isnan(other)) if one.shape == other.shape else None
    if same is None or one.dtype != other.dtype:
        yield f"{where}: {one.dtype} {one.shape} {other.dtype} {other.shape}", np.inf
    elif not same.all():
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.where(same, 0, np.abs(one - other) / scale)
        yield where, float(np.where(np.isnan(apart), np.inf, apart).max())
