"""Runs of the weight-decay guideline: J² of its layer beside test loss and accuracy, and means over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from start_training.order_chaos.weight_decay_guideline import Descent, MeanSlope, Settled, crossing, saturation
from start_training.studies.trials import Trial, mean_of_runs

LOSS, ACCURACY = "test/loss", "test/accuracy"


@dataclass(frozen=True)
class Curve:
    """One run: its trial, and rows with the columns epoch (from 0), J2, test/loss and test/accuracy (from epoch 1)."""

    trial: Trial
    rows: pd.DataFrame

    @classmethod
    def of(cls, trial: Trial, layer: str) -> "Curve":
        """The curve of the layer with this name."""
        phases = trial.run.table("phase").read()
        assert phases is not None
        of_layer = phases.loc[phases["name"] == layer, ["epoch", "J2"]]
        ends = of_layer[of_layer["epoch"] % 1 == 0]  # every_n_steps would add rows within epochs
        epochs = trial.epochs.assign(epoch=lambda rows: rows["epoch"] + 1.0)  # metrics name an epoch by its start
        tested = [name for name in (LOSS, ACCURACY) if name in epochs]
        rows = ends.merge(epochs[["epoch", *tested]], on="epoch", how="left").reset_index(drop=True)
        return cls(trial, rows.reindex(columns=["epoch", "J2", LOSS, ACCURACY]))

    @property
    def completed(self) -> bool:
        """Whether the run did not diverge."""
        return self.trial.summary["status"] == "completed"

    @property
    def settled(self) -> Settled:
        """J² at the end of the run."""
        return Settled.of(self.rows["epoch"], self.rows["J2"])

    @property
    def edge(self) -> float:
        """The epoch at which J² reached 1; NaN if it never did."""
        return crossing(self.rows["epoch"], self.rows["J2"])

    @property
    def lowest(self) -> dict[str, float]:
        """epoch, loss, accuracy and J where test loss was lowest; NaN if it was never evaluated."""
        tested = self.rows.dropna(subset=[LOSS])
        if tested.empty:
            return dict.fromkeys(("epoch", "loss", "accuracy", "J"), np.nan)
        row = tested.iloc[int(tested[LOSS].argmin())]
        return {"epoch": row["epoch"], "loss": row[LOSS], "accuracy": row[ACCURACY], "J": float(np.sqrt(row["J2"]))}


@dataclass(frozen=True)
class SeedRuns:
    """The runs of one setting, one for each seed, and the parameters of the equation that J² should follow.

    Args:
        name: In tables and reports.
        weight_decay: PyTorch's, 2 λ.
        curves: One for each seed.
        start: J² at epoch 0 of the equation.
        A: Its growth of J² per epoch without weight decay.
        rate: `Descent.decay_rate`.
    """

    name: str
    weight_decay: float
    curves: Sequence[Curve]
    start: float
    A: float
    rate: float

    @property
    def completed(self) -> list[Curve]:
        """The curves of the runs that did not diverge."""
        return [curve for curve in self.curves if curve.completed]

    @property
    def J(self) -> tuple[float, float]:
        """J at the end of the runs, √ of the mean of J² over their last quarter: mean over seeds and its error."""
        return mean_of_runs([float(np.sqrt(curve.settled.J2)) for curve in self.completed] or [np.nan])

    @property
    def moving(self) -> bool:
        """Whether J² of most runs has not settled."""
        return sum(curve.settled.moving for curve in self.completed) > len(self.completed) / 2

    @property
    def A_under_decay(self) -> tuple[float, float]:
        """A' = dJ²/dt + rate · J² at the end of the runs: mean over seeds and its error."""
        return mean_of_runs([curve.settled.A_under_decay(self.rate) for curve in self.completed] or [np.nan])

    def row(self) -> dict[str, Any]:
        """Its row of options.csv: means over seeds, each with its standard error."""
        row: dict[str, Any] = {"option": self.name, "weight_decay": self.weight_decay, "runs": len(self.curves)}
        row |= {"diverged": len(self.curves) - len(self.completed), "moving": self.moving}
        row["J"], row["J s.e."] = self.J
        lows = [curve.lowest for curve in self.completed]
        columns = {name: [curve.trial.metric(name) for curve in self.completed] for name in (LOSS, ACCURACY)}
        columns |= {f"lowest {name}": [low[name] for low in lows] for name in ("loss", "accuracy", "epoch", "J")}
        columns["edge epoch"] = [curve.edge for curve in self.completed]
        for name, values in columns.items():
            row[name], row[f"{name} s.e."] = mean_of_runs([float(value) for value in values] or [np.nan])
        return row

    def table(self) -> pd.DataFrame:
        """The rows of all curves, with the columns option and seed."""
        rows = [curve.rows.assign(option=self.name, seed=curve.trial.summary["seed"]) for curve in self.curves]
        return pd.concat(rows, ignore_index=True)

    def predicted(self) -> pd.DataFrame:
        """J² by the equation, with the columns option, epoch and J2."""
        epochs = np.linspace(0.0, max(curve.rows["epoch"].max() for curve in self.curves), 101)
        J2 = saturation(epochs, start=self.start, A=self.A, rate=self.rate)
        return pd.DataFrame({"option": self.name, "epoch": epochs, "J2": J2})


@dataclass(frozen=True)
class Measured:
    """λ* and what it was computed from.

    Args:
        descent: The config's.
        layer: The name of the layer whose J² is measured.
        fan_in: N of that layer.
        curves: Of short runs without weight decay, one for each seed.
        slope: A and C of these.
        lambda_star: λ*.
    """

    descent: Descent
    layer: str
    fan_in: int
    curves: Sequence[Curve]
    slope: MeanSlope
    lambda_star: float

    @property
    def weight_decay(self) -> float:
        """PyTorch's, 2 λ*, to three digits."""
        return float(f"{2 * self.lambda_star:.3g}")

    @property
    def weight_decay_error(self) -> float:
        """The error of `weight_decay` that follows from the error of A."""
        return 2 * self.lambda_star * self.slope.error / self.slope.A


@dataclass(frozen=True)
class Check:
    """Training that checks λ*.

    Args:
        epochs: Of each run but the faster ones.
        runs: With each weight decay, in order.
        at_lambda_star: Those with λ*.
        corrected: Those with λ* A' / A, if J² of λ* did not end near 1.
        faster: Those without weight decay and a larger eta / ((1 − alpha) B), by the factor on that.
    """

    epochs: int
    runs: Sequence[SeedRuns]
    at_lambda_star: SeedRuns
    corrected: SeedRuns | None
    faster: Sequence[tuple[float, SeedRuns]]
