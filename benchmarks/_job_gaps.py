"""What lies between two jobs of a multirun: a real one, in a process of its own, that notes when what happens."""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

LOGGERS = {"csv": "logger=csv", "W&B, offline": "logger=wandb"}

# The first two belong to the one job, the last two to the next, in whose third W&B also finishes the one's run.
PARTS = ("test", "figure, summary", "compose, data, net", "Trainer, first batch")
_SETTINGS = (
    "model.depth=10",
    "model.width=10",
    "datamodule.validation=0",
    "optimizer.momentum=0",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
)
_ROOT = Path(__file__).parents[1]
_SCRIPT = _ROOT / "scripts" / "train.py"


class Moments(pl.Callback):
    """Notes the times of a job's moments: it was built, began its first step, ended its last, was tested."""

    def __init__(self) -> None:
        self._moments = {"built": time.time()}
        self._began = False

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if not self._began:
            self._began = True
            self._moments["first step"] = time.time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._moments["trained"] = time.time()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._moments["tested"] = time.time()
        (Path(trainer.default_root_dir) / "moments.json").write_text(json.dumps(self._moments))


def job_gaps(logger: str, *, jobs: int) -> list[dict[str, float]]:
    """Seconds of each of `PARTS`, for each two jobs that follow one another in a multirun of `jobs` jobs.

    On MNIST in batches of 1024 where DATA_DIR has it, else on digits in batches of 64.
    Raises RuntimeError, with what it said, where the multirun fails.
    """
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(_SCRIPT), "-m", *_SETTINGS, *_data(), LOGGERS[logger]]
        command += [f"seed={','.join(map(str, range(jobs)))}", f"hydra.sweep.dir={directory}"]
        command += [f"+callbacks.moments._target_={Moments.__module__}.{Moments.__qualname__}"]
        finished = subprocess.run(
            command, cwd=directory, env=_environment(), capture_output=True, text=True, check=False
        )
        if finished.returncode:
            raise RuntimeError(f"the multirun failed: {finished.stderr}")
        runs = sorted(
            (_moments(file.parent) for file in Path(directory).glob("*/moments.json")), key=lambda m: m["built"]
        )
    return [_gap(one, other) for one, other in pairwise(runs)]


def mnist_directory() -> str | None:
    """DATA_DIR, where MNIST lies in it."""
    directory = os.environ.get("DATA_DIR", "data")
    return directory if (Path(directory) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file() else None


def _data() -> list[str]:
    if mnist_directory():
        return ["datamodule=mnist", "datamodule.batch_size=1024"]
    return ["datamodule=digits", "datamodule.batch_size=64"]


def _environment() -> dict[str, str]:
    """This one's, with MNIST where it is, and with this folder, whose callback the jobs import."""
    directory = mnist_directory()
    data = {"DATA_DIR": str(Path(directory).resolve())} if directory else {}
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **data, "PYTHONPATH": path}


def _moments(run: Path) -> dict[str, float]:
    return {**json.loads((run / "moments.json").read_text()), "summary": (run / "summary.json").stat().st_mtime}


def _gap(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    moments = [one["trained"], one["tested"], one["summary"], other["built"], other["first step"]]
    return dict(zip(PARTS, (end - start for start, end in pairwise(moments)), strict=True))
