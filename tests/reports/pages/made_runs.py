"""Run directories and sweeps written by hand, with tables, metrics and summaries, for the pages about them."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from start_training.runs.sweep_jobs import add_jobs
from start_training.runs.table import Table
from tests.analysis.test_sweep_table import config_of, leave_run

# One pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HE = {"_target_": "start_training.initializers.variance_scaling.VarianceScaling", "scale": 2.0}
STRANGE = '<script>alert("1")</script><img src=x onerror=alert(2)>'  # what a stranger may write into any name


def leave_tables(run: Path, *, layers: int, steps: int, seed: int = 0, name: str = "hidden") -> None:
    """Write lengths/, steps/, hyperparameters/ and metrics.csv of a run of 10 epochs."""
    random = np.random.default_rng(seed)
    walks = random.normal(0, 0.3, (1, layers)).cumsum(1) + random.normal(0, 0.05, (steps, layers)).cumsum(0)
    number, layer = np.repeat(np.arange(steps), layers), np.tile(np.arange(layers, dtype=np.int32), steps)
    names = np.array(["input", *(f"{name}.{place}" for place in range(layers - 1))], dtype=object)
    lengths = {"step": number, "layer": layer, "name": np.tile(names, steps), "mean": np.exp(walks).ravel()}
    Table(run / "lengths").append(pd.DataFrame({**lengths, "variance": 0.1, "count": 128}))
    loss = 2.3 * np.exp(-np.arange(steps) / steps * random.uniform(0.5, 2)) + random.normal(0, 0.05, steps)
    step, epoch = np.arange(steps), np.arange(steps) // max(steps // 10, 1)
    rows = {"step": step, "epoch": epoch, "loss": loss, "learning_rate": 0.1}
    measured = {"growth_rate": walks[:, -1] / layers, "layer_variance": walks.var(1)}
    Table(run / "steps").append(pd.DataFrame({**rows, **measured}))
    settings = {"step": step, "epoch": epoch, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    Table(run / "hyperparameters").append(pd.DataFrame(settings))
    ends = np.flatnonzero(np.diff(epoch, append=-1))
    values = {"step": ends, "val/loss": loss[ends], "val/accuracy": 1 - loss[ends] / 3, "epoch": epoch[ends]}
    pd.DataFrame(values).to_csv(run / "metrics.csv", index=False)


def leave_job(sweep: Path, name: str, *, layers: int = 5, steps: int = 20, seed: int = 0, **became: Any) -> Path:
    config = config_of(layers - 1, 8, seed) | {"initializer": HE, "optimizer": {"_target_": "torch.optim.SGD"}}
    config |= became.pop("config", {})
    layer = became.pop("layer", "hidden")
    directory = leave_run(sweep, name, config, **became).path
    leave_tables(directory, layers=layers, steps=steps, seed=seed, name=layer)
    return directory


def leave_sweep(sweep: Path, *, rates: int = 2, decays: int = 2, seeds: int = 2, **tables: int) -> Path:
    """Write a sweep over learning rates, weight decays and seeds, whose largest learning rate diverges or fails."""
    jobs = {}
    for rate in range(rates):
        for decay in range(decays):
            for seed in range(seeds):
                name = f"job_{rate}_{decay}_{seed}"
                words = (f"optimizer.lr={10.0**-rate}", f"optimizer.weight_decay={decay / 10}", f"seed={seed}")
                settings = {"_target_": "torch.optim.SGD", "lr": 10.0**-rate, "weight_decay": decay / 10}
                status = "completed" if rate else ("diverged", "failed")[seed % 2]
                leave_job(
                    sweep, name, seed=seed, overrides=words, status=status, config={"optimizer": settings}, **tables
                )
                jobs[name] = words
    add_jobs(sweep, {**jobs, "job_not_begun": (words[0], words[1], f"seed={seeds}")})
    return sweep


def leave_study(directory: Path, text: str = "weight decay 0 is chosen") -> Path:
    """Write a search of three options, with its table, its figure and its runs."""
    overrides = ("search=weight_decay",)
    run = leave_run(directory.parent, directory.name, config_of() | {"search": {"text": text}}, overrides=overrides)
    summary = json.loads(run.summary_file.read_text()) | {
        "text": [text],
        "chosen": {"option": "0", "overrides": [text]},
    }
    run.summary_file.write_text(json.dumps(summary))
    options = {"option": ["0", "1e-4", text], "max_lr": [0.1, 0.2, 0.05], "val/loss": [0.5, None, 0.7]}
    pd.DataFrame(options).to_csv(directory / "options.csv", index=False)
    run.figures.mkdir()
    (run.figures / "search.png").write_bytes(PNG)
    leave_sweep(directory / "runs", rates=1, decays=1)
    return directory


def data_of(page: Path) -> dict[str, Any]:
    """The data that a page holds, unpacked, by their id."""
    found = re.findall(r'<script type="text/plain" id="data-([\w-]+)">([\w+/=]*)</script>', page.read_text())
    return {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in found}
