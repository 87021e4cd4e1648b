"""Jobs trained one by one and as a group, and how far what they left is apart."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from start_training.runs.directory import FINISHED, TABLES, RunDirectory
from start_training.runs.job import Job
from start_training.training.replica_runs import train_group
from start_training.training.train import train

DOUBLE = ("trainer.precision=64-true", "trainer.max_epochs=3")  # 33 steps
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
        f"{name}: {apart:.1e}"
        for name, apart in deviations(one, other).items()
        if apart > (max(tolerance, SINGLE) if "metrics" in name or name == "summary.objective" else tolerance)
    ]


def deviations(one: Path, other: Path) -> dict[str, float]:
    """Relative deviations of all that two run directories hold; infinite where it is no matter of rounding.

    That is: which files there are, all of summary.json but `seconds` and what the run is called, the types and values
    of every table and of metrics.csv, and the checkpoint, the order of its keys included.
    """
    first, second = (dict(contents(run)) for run in (one, other))
    found = {name: _apart(first[name], second[name]) for name in first.keys() & second.keys()}
    return found | {"names and their order": 0.0 if list(first) == list(second) else np.inf}


def checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(RunDirectory(run).checkpoint, weights_only=True)


def contents(run: Path) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Each number, array or word, and what its rounding is relative to."""
    summary = RunDirectory(run).summary()
    assert summary is not None and summary.pop("seconds") > 0
    summary.pop("overrides")
    # A table is joined in one file when its run has come to its end; until then its parts are no matter.
    joined = summary["status"] in FINISHED
    files = (file if joined or file.suffix != ".parquet" else file.parent for file in run.rglob("*") if file.is_file())
    names = {str(file.relative_to(run)) for file in files} - {"checkpoints/previous.ckpt"}  # groups save less often
    yield "files", (sorted(names), None)
    yield from _leaves("summary", summary)
    tables = {name: pd.read_parquet(run / name) for name in TABLES if (run / name).exists()}
    if (run / "metrics.csv").exists():
        tables["metrics.csv"] = pd.read_csv(run / "metrics.csv", dtype=float)
    for table, rows in tables.items():
        for name in rows:
            values = rows[name].to_numpy()
            # A variance is uncertain by what rounding does to the squares, however small it is.
            with np.errstate(over="ignore"):
                more = 1e-6 * rows["mean"].to_numpy() ** 2 if name == "variance" else 0
            yield f"{table}.{name}", (values, np.abs(values) + more if values.dtype.kind == "f" else None)
    if RunDirectory(run).checkpoint.exists():
        yield from _leaves("checkpoint", checkpoint(run))


def _leaves(name: str, tree: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Tensors are compared to their largest element."""
    if isinstance(tree, dict | list | tuple) and tree:
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(f"{name}.{key}", value)
    elif isinstance(tree, torch.Tensor):
        yield name, (tree.numpy(), tree.abs().max().numpy() if tree.is_floating_point() and tree.numel() else None)
    else:
        yield name, (np.array(tree), abs(tree)) if isinstance(tree, float) else (tree, None)


def _apart(one: tuple[Any, Any], other: tuple[Any, Any]) -> float:
    (values, scale), (others, _) = one, other
    if type(values) is not type(others):
        return np.inf
    if not isinstance(values, np.ndarray):
        return 0.0 if values == others else np.inf
    if values.dtype != others.dtype or values.shape != others.shape:
        return np.inf
    same = (values == others) | (pd.isna(values) & pd.isna(others))
    if scale is None or same.all():
        return 0.0 if same.all() else np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(same, 0, np.abs(values - others) / scale)
    return float(np.where(np.isnan(apart), np.inf, apart).max())
