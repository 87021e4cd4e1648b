"""Measure the time between two jobs of a multirun, which runs in its own process with a callback that records times."""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from rich.table import Table

from benchmarks._harness import ROOT, results_table
from benchmarks._measuring import spread
from benchmarks._mnist import mnist_directory

LOGGERS = {"csv": "logger=csv", "W&B, offline": "logger=wandb"}
GOAL = 0.3  # largest number of seconds between two jobs

# Parts of the time between jobs: the first two belong to the earlier job, the last two to the next one. In the third
# part, W&B also finishes the run of the earlier job.
PARTS = ("test", "figure, summary", "compose, data, net", "Trainer, first batch")
_SETTINGS = (
    "model.depth=10",
    "model.width=10",
    "datamodule.validation=0",
    "optimizer.momentum=0",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
)
_MNIST = ("datamodule=mnist", "datamodule.batch_size=1024")
_DIGITS = ("datamodule=digits", "datamodule.batch_size=64")


class JobClock(pl.Callback):
    """Callback that writes the times when a job was built, began to train, ended and was tested to job_clock.json."""

    def __init__(self) -> None:
        self._times = {"built": time.time()}

    def on_train_batch_start(self, trainer: pl.Trainer, *args: object) -> None:
        self._times.setdefault("first step", time.time())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._times["trained"] = time.time()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._times["tested"] = time.time()
        (Path(trainer.default_root_dir) / "job_clock.json").write_text(json.dumps(self._times))


def job_gaps(logger: str, *, jobs: int) -> list[dict[str, float]]:
    """Run a multirun and measure the times between its jobs.

    It trains on MNIST in batches of 1024 if DATA_DIR has MNIST, otherwise on digits in batches of 64.

    Args:
        logger: One of `LOGGERS`.
        jobs: Number of jobs of the multirun.
    Returns:
        Seconds of each of `PARTS` for each two consecutive jobs.
    Raises:
        RuntimeError: the multirun failed.
    """
    mnist = mnist_directory()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # jobs import this module
    variables = {"PYTHONPATH": path, **({"DATA_DIR": str(Path(mnist).resolve())} if mnist else {})}
    with tempfile.TemporaryDirectory() as directory:
        command = [
            *(sys.executable, str(ROOT / "scripts" / "train.py"), "-m", *_SETTINGS, LOGGERS[logger]),
            *(_MNIST if mnist else _DIGITS),
            f"seed={','.join(map(str, range(jobs)))}",
            f"hydra.sweep.dir={directory}",
            f"+callbacks.job_clock._target_={JobClock.__module__}.{JobClock.__qualname__}",
        ]
        multirun = subprocess.run(command, cwd=directory, env=os.environ | variables, capture_output=True, text=True)
        if multirun.returncode:
            raise RuntimeError(f"the multirun failed: {multirun.stderr}")
        runs = [
            {**json.loads(file.read_text()), "summary": (file.parent / "summary.json").stat().st_mtime}
            for file in Path(directory).glob("*/job_clock.json")
        ]
    gaps = []
    for one, following in pairwise(sorted(runs, key=itemgetter("built"))):
        times = [one["trained"], one["tested"], one["summary"], following["built"], following["first step"]]
        gaps.append(dict(zip(PARTS, np.diff(times).tolist(), strict=True)))
    return gaps


def jobs_table(jobs: dict[str, list[dict[str, float]]]) -> Table:
    """Return a table with one row per logger: medians over jobs of the seconds of each of `PARTS`."""
    rows = []
    for logger, gaps in jobs.items():
        parts = {part: np.median([gap[part] for gap in gaps]) for part in PARTS}
        total = spread([sum(gap.values()) for gap in gaps])
        rows.append({"logger": logger, **parts, "total": total})
    title = f"seconds from the last step of a job to the first step of the next; goal ≤ {GOAL:g}"
    columns = {"logger": "{logger}", **{part: f"{{{part}:.2f}}" for part in PARTS}, "total": "{total.median:.2f}"}
    return results_table(title, {**columns, "range": "{total.least:.2f}–{total.greatest:.2f}"}, rows)
