"""Runs of the weight-decay guideline: J² of its layer beside test loss and accuracy, and what they come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from start_training.order_chaos.guideline import Settled, crossing, saturation
from start_training.studies.trials import Trial, mean_and_error

LOSS, ACCURACY = "test/loss", "test/accuracy"


@dataclass(frozen=True)
class Curve:
    """What one run went through: columns epoch (trained, from 0), J2, test/loss and test/accuracy (from epoch 1)."""

    trial: Trial
    rows: pd.DataFrame

    @classmethod
    def of(cls, trial: Trial, layer: str) -> "Curve":
        """Of the layer of that name."""
        phases = trial.run.table("phase").read()
        assert phases is not None
        of_layer = phases.loc[phases["name"] == layer, ["epoch", "J2"]]
        ends = of_layer[of_layer["epoch"] % 1 == 0]  # every_n_steps would add rows within epochs
        epochs = trial.epochs.assign(epoch=lambda rows: rows["epoch"] + 1.0)  # metrics count the one that has ended
        tested = [name for name in (LOSS, ACCURACY) if name in epochs]
        rows = ends.merge(epochs[["epoch", *tested]], on="epoch", how="left").reset_index(drop=True)
        return cls(trial, rows.reindex(columns=["epoch", "J2", LOSS, ACCURACY]))

    @property
    def completed(self) -> bool:
        return self.trial.summary["status"] == "completed"

    @property
    def settled(self) -> Settled:
        return Settled.of(self.rows["epoch"], self.rows["J2"])

    @property
    def edge(self) -> float:
        """The epoch at which J² reached 1; NaN if it never did."""
        return crossing(self.rows["epoch"], self.rows["J2"])

    @property
    def lowest(self) -> dict[str, float]:
        """epoch, loss, accuracy and J where test loss was lowest; NaN where it was never looked at."""
        looked = self.rows.dropna(subset=[LOSS])
        if looked.empty:
            return dict.fromkeys(("epoch", "loss", "accuracy", "J"), np.nan)
        row = looked.iloc[int(looked[LOSS].argmin())]
        return {"epoch": row["epoch"], "loss": row[LOSS], "accuracy": row[ACCURACY], "J": float(np.sqrt(row["J2"]))}


@dataclass(frozen=True)
class Trained:
    """The runs of one weight decay 2 λ, a seed each, and J² as the equation has it: its start, A and rate."""

    name: str
    weight_decay: float
    curves: Sequence[Curve]
    start: float
    A: float
    rate: float

    @property
    def completed(self) -> list[Curve]:
        return [curve for curve in self.curves if curve.completed]

    @property
    def settled(self) -> tuple[float, float]:
        """J at the end of the runs, √ of the mean of J² over their last quarter: mean over seeds and its error."""
        return mean_and_error([float(np.sqrt(curve.settled.J2)) for curve in self.completed] or [np.nan])

    @property
    def moving(self) -> bool:
        """Whether J² of most runs has not settled yet."""
        return sum(curve.settled.moving for curve in self.completed) > len(self.completed) / 2

    @property
    def growth(self) -> tuple[float, float]:
        """A' = dJ²/dt + rate · J² at the end of the runs."""
        return mean_and_error([curve.settled.growth(self.rate) for curve in self.completed] or [np.nan])

    def row(self) -> dict[str, Any]:
        """Its line of a table: means over seeds, each with its standard error."""
        row: dict[str, Any] = {"option": self.name, "weight_decay": self.weight_decay, "runs": len(self.curves)}
        row |= {"diverged": len(self.curves) - len(self.completed), "moving": self.moving}
        ends = {name: [curve.trial.metric(name) for curve in self.completed] for name in (LOSS, ACCURACY)}
        lows = [curve.lowest for curve in self.completed]
        of_lowest = {f"lowest {name}": [low[name] for low in lows] for name in ("loss", "accuracy", "epoch", "J")}
        edges = {"edge epoch": [curve.edge for curve in self.completed]}
        row["J"], row["J s.e."] = self.settled
        for name, values in (ends | of_lowest | edges).items():
            row[name], row[f"{name} s.e."] = mean_and_error([float(value) for value in values] or [np.nan])
        return row

    def table(self) -> pd.DataFrame:
        """All its curves, with the columns option and seed."""
        rows = [curve.rows.assign(option=self.name, seed=curve.trial.summary["seed"]) for curve in self.curves]
        return pd.concat(rows, ignore_index=True)

    def predicted(self) -> pd.DataFrame:
        """J² as the equation has it, with the columns option, epoch and J2."""
        epochs = np.linspace(0.0, max(curve.rows["epoch"].max() for curve in self.curves), 101)
        J2 = saturation(epochs, start=self.start, A=self.A, rate=self.rate)
        return pd.DataFrame({"option": self.name, "epoch": epochs, "J2": J2})
