"""What the experiments of conf/experiment/zhang are expected to show: Zhang, Feng, Chen & Lai 2021, arXiv:2107.09437.

Each function takes the table that the experiment's figure is drawn from, and returns named quantities with the
intervals that its `Expected` allows.
"""

import numpy as np
import pandas as pd

from start_training.analysis.chi_and_growth import mean_rates
from start_training.analysis.collapse import GROWTH
from start_training.analysis.collapse import collapse as spreads_of
from start_training.analysis.decay_points import decay_points, lambda_stars
from start_training.analysis.expectations.quantity import Quantity, largest_of, mean_of
from start_training.analysis.phase_curves import layer_rows, with_scaling
from start_training.analysis.phase_slopes import constant_spread, exponents, phase_slopes

NAMES = {"log_chi": "log χ", "log_growth": "growth of lengths", "final_accuracy": "test accuracy"}
FACTORS = {"eta": "eta", "alpha": "1/(1 − alpha)", "batch": "1/B"}


def slope(table: pd.DataFrame) -> list[Quantity]:
    """Check that J² grows linearly while J < 1, with slopes that grow with the learning rate."""
    fits = phase_slopes(table)
    A = fits.groupby("eta")["slope"].mean()
    stated = {0.025: 0.0159, 0.05: 0.0340, 0.1: 0.0736}
    return [
        *(
            Quantity(
                f"slope of J² per epoch, eta = {eta:g}", _at(A, eta), round(0.85 * value, 4), round(1.15 * value, 4)
            )
            for eta, value in stated.items()
        ),
        Quantity(
            "standard error of a slope, relative, largest", largest_of(fits["slope_error"] / fits["slope"]), high=0.02
        ),
        Quantity("runs whose J² is not linear", float(fits["bent"].sum()), high=0),
        Quantity("epoch in which J² reaches 1, eta = 0.1", _edge(fits[fits["eta"] == 0.1]), 8, 11.5),
    ]


def scaling(table: pd.DataFrame) -> list[Quantity]:
    """Check that the slope of J² is proportional to eta / ((1 − alpha) B)."""
    fits = phase_slopes(table)
    powers, constant = exponents(fits), constant_spread(fits)
    values = {name: fit.value for name, fit in powers.items() if fit is not None}
    return [
        *(
            Quantity(f"exponent of {factor}", values.get(name, np.nan), 0.85, 1.2)
            for name, factor in FACTORS.items()
        ),
        Quantity("A (1 − alpha) B / eta per epoch, mean", constant.get("mean", np.nan), 9, 13.5),
        Quantity("relative standard deviation of A (1 − alpha) B / eta", constant.get("relative_sd", np.nan), high=0.3),
    ]  # fmt: skip


def collapse(table: pd.DataFrame) -> list[Quantity]:
    """Check that J² of all combinations is one curve over rescaled time, and not over epochs, while J < 1."""
    spreads = spreads_of(with_scaling(layer_rows(table)))
    epochs, rescaled = (_spread(spreads, "all", time, "J2", "ordered") for time in ("epoch", "rescaled"))
    return [
        Quantity(
            "spread of J² at equal scaling variables, %", _spread(spreads, "equal", "epoch", "J2", "ordered"), high=3
        ),
        Quantity("spread of J² of all runs at equal epochs, %", epochs, 20, 40),
        Quantity("spread of J² of all runs at equal rescaled time, %", rescaled, high=8),
    ]


def past_the_edge(table: pd.DataFrame) -> list[Quantity]:
    """Check how far J² is from one curve on both sides of the edge of chaos."""
    spreads = spreads_of(with_scaling(layer_rows(table)))
    spread = {
        (quantity, phase): _spread(spreads, "all", "rescaled", quantity, phase)
        for quantity in ("J2", GROWTH)
        for phase in ("ordered", "past")
    }
    return [
        Quantity("spread of J² in the ordered phase, %", spread["J2", "ordered"], 6, 10),
        Quantity("spread of J² past the edge, %", spread["J2", "past"], 8, 13),
        Quantity("spread of the growth of J² in the ordered phase, %", spread[GROWTH, "ordered"], 12, 18),
        Quantity("spread of the growth of J² past the edge, %", spread[GROWTH, "past"], 7, 13),
    ]


def trajectory(table: pd.DataFrame) -> list[Quantity]:
    """Check that J0/J stays near 0 while J passes 1, and that test loss is lowest near the edge."""
    rows, fits = layer_rows(table), phase_slopes(table)
    fast, slow = (fits[np.isclose(fits["eta"], eta)] for eta in (0.1, 0.05))
    return [
        Quantity("largest |J0/J|", largest_of(rows["J0"].astype(float) / rows["J"].astype(float)), high=0.15),
        Quantity("epoch in which J reaches 1, eta = 0.1", _edge(fast), 8, 11.5),
        Quantity("epoch in which J reaches 1, eta = 0.05", _edge(slow), 17, 24),
        Quantity("J at the lowest test loss, eta = 0.1", mean_of(fast["lowest_J"]), 0.9, 1.7),
        Quantity("J at the lowest test loss, eta = 0.05", mean_of(slow["lowest_J"]), 0.85, 1.2),
        Quantity("lowest test loss, eta = 0.1", mean_of(fast["lowest_loss"]), 0.33, 0.385),
        Quantity("lowest test loss, eta = 0.05", mean_of(slow["lowest_loss"]), 0.315, 0.365),
    ]


def weight_decay(table: pd.DataFrame) -> list[Quantity]:
    """Check λ* and that J ends near 1 between weight decays of about 2 λ* and one and a half times that."""
    fits = phase_slopes(table.assign(option="all"))
    star, _ = lambda_stars(fits).get("all", (np.nan, np.nan))
    ends = decay_points(fits).set_index("decay")
    J, loss = ends["J"].astype(float), ends["final_loss"].astype(float)
    return [
        Quantity("λ* of the guideline", star, 1.7e-4, 2.2e-4),
        Quantity("final J without weight decay", _at(J, 0), 1.5, 2.1),
        Quantity("final J with weight_decay 4e-4", _at(J, 2e-4), 1, 1.2),
        Quantity("final J with weight_decay 6e-4", _at(J, 3e-4), 0.85, 1.05),
        Quantity("final test loss with 4e-4, minus without", _at(loss, 2e-4) - _at(loss, 0), 0.005, 0.06),
    ]


def two_papers(table: pd.DataFrame) -> list[Quantity]:
    """Check where log χ and the growth of lengths agree at initialization, and that they part in training."""
    rates = mean_rates(table.assign(option=table["initializer"])).sort_values("step", kind="stable")
    first, last = (_means(rates.drop_duplicates("directory", keep=end)) for end in ("first", "last"))

    def check(when: str, activation: str, option: str, column: str, low: float, high: float) -> Quantity:
        ends, name = {"at first": first, "after training": last}[when], NAMES[column]
        value = float(ends[column].get((activation, option), np.nan))
        return Quantity(f"{name}, {activation} with {option}, {when}", value, low, high)

    return [
        check("at first", "relu", "he_normal", "log_chi", -0.05, 0.05),
        check("at first", "relu", "he_normal", "log_growth", -0.3, 0.25),
        check("at first", "relu", "lecun_normal", "log_chi", -0.75, -0.65),
        check("at first", "relu", "lecun_normal", "log_growth", -1, -0.45),
        check("at first", "relu", "torch_default", "log_chi", -1.9, -1.7),
        check("at first", "relu", "torch_default", "log_growth", -0.1, 0.06),
        check("at first", "tanh", "critical", "log_chi", -0.05, 0.05),
        check("after training", "relu", "lecun_normal", "log_chi", -0.75, -0.55),
        check("after training", "relu", "lecun_normal", "log_growth", 0, 0.25),
        check("after training", "relu", "he_normal", "final_accuracy", 0.9, 1),
        check("after training", "relu", "torch_default", "final_accuracy", 0, 0.25),
    ]


def _means(rates: pd.DataFrame) -> pd.DataFrame:
    return rates.groupby(["activation", "option"])[["log_chi", "log_growth", "final_accuracy"]].mean()


def _edge(fits: pd.DataFrame) -> float:
    """Return the mean epoch in which J² reaches 1; infinite if it does not in some run, NaN without runs."""
    return mean_of(fits["edge_epoch"].fillna(np.inf))


def _spread(spreads: pd.DataFrame, runs: str, time: str, quantity: str, phase: str) -> float:
    """Return a spread of `collapse` in percent; NaN if the runs do not cover the phase."""
    columns = ["runs", "time", "quantity", "phase"]
    chosen = spreads[(spreads[columns] == [runs, time, quantity, phase]).all(axis=1)]
    return 100 * mean_of(chosen["spread"])


def _at(values: "pd.Series[float]", key: float) -> float:
    """Return the value at a number in the index, which may differ from `key` by rounding; NaN if there is none."""
    return mean_of(values[np.isclose(values.index.to_numpy(float), key, rtol=1e-6, atol=1e-12)])
