"""The time between two jobs of a multirun: a real one, in a process of its own, which notes when each step happens."""

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
GOAL = 0.3  # seconds between jobs

# The first two are of the first job and the last two of the next; in the third, W&B also finishes the first one's run.
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
    """Notes when a job was built, began its first step, ended its last and was tested, in job_clock.json of its run."""

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
    """Run a multirun, on MNIST in batches of 1024 where DATA_DIR has it, else on digits in batches of 64.

    Args:
        logger: One of `LOGGERS`.
        jobs: How many jobs the multirun has.
    Returns:
        For each two consecutive jobs the seconds of each of `PARTS`.
    Raises:
        RuntimeError: The multirun failed.
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
    """One row per logger: medians over jobs, in seconds."""
    rows = []
    for logger, gaps in jobs.items():
        parts = {part: np.median([gap[part] for gap in gaps]) for part in PARTS}
        total = spread([sum(gap.values()) for gap in gaps])
        rows.append({"logger": logger, **parts, "total": total})
    title = f"from a job's last step to the next one's first, in seconds; goal ≤ {GOAL:g}"
    columns = {"logger": "{logger}", **{part: f"{{{part}:.2f}}" for part in PARTS}, "in all": "{total.median:.2f}"}
    return results_table(title, {**columns, "range": "{total.least:.2f}–{total.greatest:.2f}"}, rows)
