"""Results of the runs of the weight-decay guideline: J², test loss and accuracy of each run, and means over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from start_training.order_chaos.weight_decay_guideline import Descent, MeanSlope, Settled, crossing, saturation
from start_training.standard_error import mean_of_runs
from start_training.studies.trials import Trial

LOSS, ACCURACY = "test/loss", "test/accuracy"


@dataclass(frozen=True)
class Curve:
    """J² = fan_in · Var W of a layer, test loss and test accuracy after each epoch of one run.

    Args:
        trial: The run.
        rows: Table with the columns epoch (from 0), J2, test/loss and test/accuracy (NaN at epoch 0).
    """

    trial: Trial
    rows: pd.DataFrame

    @classmethod
    def of(cls, trial: Trial, layer: str) -> "Curve":
        """Read the curve of a finished run, with J² of the layer named `layer`."""
        phases = trial.run.existing_rows("phase")
        of_layer = phases.loc[phases["name"] == layer, ["epoch", "J2"]]
        ends = of_layer[of_layer["epoch"] % 1 == 0]  # without the rows within epochs that every_n_steps adds
        # Metrics number an epoch by its start, the phase table by the time of measurement, which is the epoch's end.
        epochs = trial.epochs.assign(epoch=lambda rows: rows["epoch"] + 1.0)
        tested = [name for name in (LOSS, ACCURACY) if name in epochs]
        rows = ends.merge(epochs[["epoch", *tested]], on="epoch", how="left").reset_index(drop=True)
        return cls(trial, rows.reindex(columns=["epoch", "J2", LOSS, ACCURACY]))

    @property
    def completed(self) -> bool:
        """Whether the run was completed, that is, did not diverge."""
        return self.trial.summary["status"] == "completed"

    @property
    def settled(self) -> Settled:
        """J² = fan_in · Var W averaged over the end of the run, and whether it is still changing."""
        return Settled.of(self.rows["epoch"], self.rows["J2"])

    @property
    def edge(self) -> float:
        """The epoch at which J² = fan_in · Var W first reached 1, the edge of chaos; NaN if it never did."""
        return crossing(self.rows["epoch"], self.rows["J2"])

    @property
    def lowest(self) -> dict[str, float]:
        """The epoch of the lowest test loss, and loss, accuracy and J there; all NaN without test metrics."""
        tested = self.rows.dropna(subset=[LOSS])
        if tested.empty:
            return dict.fromkeys(("epoch", "loss", "accuracy", "J"), np.nan)
        row = tested.iloc[int(tested[LOSS].argmin())]
        return {"epoch": row["epoch"], "loss": row[LOSS], "accuracy": row[ACCURACY], "J": float(np.sqrt(row["J2"]))}


@dataclass(frozen=True)
class SeedRuns:
    """Runs of one setting with several seeds, and the parameters of their predicted J² = fan_in · Var W (`saturation`).

    Args:
        name: Name of the setting in tables and reports.
        weight_decay: PyTorch's `weight_decay`, 2 λ.
        curves: The curve of one run for each seed.
        start: Predicted J² at epoch 0.
        A: Predicted growth of J² per epoch without weight decay.
        rate: Share of J² that weight decay removes per epoch (`Descent.decay_rate`).
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
        """J = √(fan_in · Var W), averaged over the last quarter of a run: mean over seeds and its standard error."""
        return mean_of_runs([float(np.sqrt(curve.settled.J2)) for curve in self.completed] or [np.nan])

    @property
    def moving(self) -> bool:
        """Whether J² = fan_in · Var W is still changing at the end of most runs."""
        return sum(curve.settled.moving for curve in self.completed) > len(self.completed) / 2

    @property
    def A_under_decay(self) -> tuple[float, float]:
        """Growth that training adds to J² per epoch at the end of the runs, A' = dJ²/dt + rate · J²: mean and error."""
        return mean_of_runs([curve.settled.A_under_decay(self.rate) for curve in self.completed] or [np.nan])

    def row(self) -> dict[str, Any]:
        """Return the setting's row of options.csv: means over seeds, each with its standard error."""
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
        """Return the rows of all curves in one table, with the added columns option and seed."""
        rows = [curve.rows.assign(option=self.name, seed=curve.trial.summary["seed"]) for curve in self.curves]
        return pd.concat(rows, ignore_index=True)

    def predicted(self) -> pd.DataFrame:
        """Return the predicted J² = fan_in · Var W at 101 times, as a table with the columns option, epoch and J2."""
        epochs = np.linspace(0.0, max(curve.rows["epoch"].max() for curve in self.curves), 101)
        J2 = saturation(epochs, start=self.start, A=self.A, rate=self.rate)
        return pd.DataFrame({"option": self.name, "epoch": epochs, "J2": J2})


@dataclass(frozen=True)
class Measured:
    """The recommended weight decay λ*, and the measurements it was computed from.

    Args:
        descent: Learning rate, momentum, batch size and samples per epoch of the config.
        layer: Name of the layer whose J² is measured.
        fan_in: Fan-in N of that layer.
        curves: The curves of the short runs without weight decay, one for each seed.
        slope: The line J² = A t + C fitted to these curves, with t in epochs.
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
        """The recommended `weight_decay` of a PyTorch optimizer, 2 λ*, rounded to three digits."""
        return float(f"{2 * self.lambda_star:.3g}")

    @property
    def weight_decay_error(self) -> float:
        """The error of `weight_decay`, computed from the error of A."""
        return 2 * self.lambda_star * self.slope.error / self.slope.A


@dataclass(frozen=True)
class Check:
    """The training runs that check the recommended weight decay λ*.

    Args:
        epochs: Number of epochs of each run, except the faster ones.
        runs: The runs with each weight decay, in increasing order of weight decay.
        at_lambda_star: The runs with λ*.
        corrected: The runs with λ* A' / A; None if J² of the runs with λ* ended near 1.
        faster: Pairs of a factor and the runs without weight decay in which eta / ((1 − alpha) B) is raised by it.
    """

    epochs: int
    runs: Sequence[SeedRuns]
    at_lambda_star: SeedRuns
    corrected: SeedRuns | None
    faster: Sequence[tuple[float, SeedRuns]]
