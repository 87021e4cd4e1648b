"""Run directories as written by the phase callback, with J² growing by CONSTANT · eta / ((1 − alpha) B) per epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from start_training.order_chaos.scaling_law import scaling_variable
from start_training.runs.directory import RunDirectory
from start_training.runs.metrics_file import MetricsFile
from start_training.runs.sweep_jobs import add_jobs

CONSTANT = 40.0
STEPS = 100  # steps of an epoch
START = 0.25  # J² at initialization, as in the paper


def phases(
    eta: float,
    alpha: float,
    batch: int,
    *,
    epochs: int,
    decay: float = 0.0,
    power: float = 1.0,
    past: float = 1.0,
    fast: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Generate rows of the table phase/ for a square layer and the layer before it.

    Args:
        eta: Learning rate.
        alpha: Momentum.
        batch: Batch size.
        epochs: Number of epochs; one measurement after each.
        decay: PyTorch's weight_decay, with which J² converges to λ* / λ.
        power: Exponent of A ∝ (scaling variable)^power.
        past: Factor of the growth of J² past the edge of chaos.
        fast: What J² grows by in addition in the first part of training, within about 20 epochs.
        noise: Standard deviation of the noise of J².
        seed: Seed of the noise.
    """
    t = np.arange(epochs + 1.0)
    scaling = scaling_variable(eta, alpha, batch)
    A = CONSTANT * 0.003 ** (1 - power) * scaling**power
    rate = 2 * decay * eta * STEPS / (1 - alpha)
    grown = A * t if rate == 0 else (A / rate - START) * (1 - np.exp(-rate * t))
    J2 = START + grown + fast * (1 - np.exp(-t / 20))
    J2 = np.where(J2 > 1, 1 + past * (J2 - 1), J2)
    J2 += noise * np.random.default_rng(seed).normal(size=len(t)) * (t > 0)
    square = {"layer": 1, "name": "hidden.linear", "fan_in": 4, "fan_out": 4, "J0": 0.05 * t / epochs, "J2": J2}
    square |= {"jacobian": J2 * 0.9, "lyapunov": np.log(J2) / 2, "slope": np.nan, "slope_error": np.nan}
    rows = pd.DataFrame({"step": (t * STEPS).astype(int), "epoch": t, **square, "scaling": scaling})
    other = rows.assign(layer=0, name="first", fan_out=8, J0=0.0, J2=7.0, jacobian=np.nan, lyapunov=np.nan)
    both = pd.concat([other, rows]).sort_values(["step", "layer"], ignore_index=True)
    return both.assign(J=np.sqrt(both["J2"]))


def losses(J2: Any) -> tuple[Any, Any]:
    """Return a test loss that is lowest at the edge of chaos, and an accuracy."""
    loss = 0.4 + 0.3 * (np.sqrt(J2) - 1) ** 2
    return loss, 1.1 - loss / 2


def leave_phases(
    sweep: Path,
    seed: int = 0,
    *,
    eta: float = 0.1,
    alpha: float = 0.0,
    batch: int = 32,
    decay: float = 0.0,
    epochs: int = 10,
    status: str | None = "completed",
    rows: bool = True,
    tested: bool = True,
    more: tuple[str, ...] = (),
    **shape: Any,
) -> RunDirectory:
    """Write a run directory with the rows of `phases`; status None is a run that was killed."""
    settings = {"optimizer.lr": eta, "optimizer.momentum": alpha, "datamodule.batch_size": batch}
    settings |= {"optimizer.weight_decay": decay, "trainer.max_epochs": epochs}
    overrides = (*more, *(f"{key}={value:g}" for key, value in settings.items()), f"seed={seed}")
    run = RunDirectory(sweep / "_".join(overrides))
    config: dict[str, Any] = {"seed": seed, "optimizer": {"lr": eta, "momentum": alpha, "weight_decay": decay}}
    config |= {"datamodule": {"batch_size": batch, "seed": seed}, "trainer": {"max_epochs": epochs}, "more": list(more)}
    run.begin(config)
    table = phases(eta, alpha, batch, epochs=epochs, decay=decay, seed=seed, **shape)
    if rows:
        run.table("phase").append(table)
        metrics = MetricsFile(run.path)
        for _, row in table[(table["layer"] == 1) & (table["epoch"] > 0) & tested].iterrows():
            loss, accuracy = losses(row["J2"])
            epoch = {"epoch": row["epoch"] - 1, "train/loss": 1.0, "test/loss": loss, "test/accuracy": accuracy}
            metrics.log_metrics(epoch, step=int(row["step"]) - 1)
        metrics.log_metrics({"epoch": epochs, "test/loss": 9.0}, step=epochs * STEPS)  # test after training
    if status is not None:
        results = {"phase": {"layer": "hidden.linear", "J": 1.0, "slope": 0.1, "slope_end": 4.0, "constant": 40.0}}
        results["phase"] |= {"lowest_test_loss": 0.4, "slope_reason": None}
        origin = {"overrides": list(overrides), "config_hash": "abc", "seconds": 1.5, "metrics": {}}
        ended = {"status": status, "reason": "why", "steps": 0, "epochs": epochs}
        run.write_summary(ended | origin | (results if rows else {}))
    run.release()
    add_jobs(sweep, {run.path.name: overrides})
    return run
