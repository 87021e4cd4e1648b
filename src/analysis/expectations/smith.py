"""What the experiments of conf/experiment/smith are expected to show: Smith 2018, arXiv:1803.09820.

Each function takes the table that the experiment's figure is drawn from, and returns named quantities with the
intervals that its `Expected` allows.
"""

import numpy as np
import pandas as pd

from start_training.analysis.error_curves import best_of_shortest, epochs_until, error_curves, final_errors
from start_training.analysis.expectations.quantity import Quantity, mean_of
from start_training.analysis.suggestions import suggestions

HE = ("he_normal", "he_uniform")
SMALLER = ("lecun_normal", "glorot_normal", "glorot_uniform")
CYCLE, FIXED = "one_cycle", "inverse"  # the schedules of super-convergence


def cifar10_weight_decay(table: pd.DataFrame) -> list[Quantity]:
    """Check that too large a weight decay lowers the largest rate and raises the lowest validation loss."""
    rates = suggestions(table.assign(decay=table["optimizer.weight_decay"].astype(float)), by="decay")
    of_decay = rates.set_index("decay").reindex([0.0, 1e-4, 1e-3, 1e-2]).astype(float, errors="ignore")
    max_lr, loss = of_decay["max_lr"].astype(float), of_decay["val_loss"].astype(float)
    return [
        Quantity("max_lr without weight decay", max_lr[0.0], 0.1, 0.2),
        Quantity("max_lr with weight decay 1e-2, over that without", max_lr[1e-2] / max_lr[0.0], 0.25, 0.75),
        Quantity("max_lr with weight decay 1e-4, over that without", max_lr[1e-4] / max_lr[0.0], 0.7, 1.4),
        Quantity("lowest loss with 1e-2, minus without weight decay", loss[1e-2] - loss[0.0], 0.02, 0.2),
    ]


def largest_rate(table: pd.DataFrame) -> list[Quantity]:
    """Check that smaller weights and depths allow larger rates, also to nets that hardly learn."""
    named = table.assign(net=table["initializer"] + " " + table["depth"].astype(int).astype(str))
    rates = suggestions(named, by="net").set_index("net")

    def mean(column: str, names: tuple[str, ...], depth: int) -> float:
        return mean_of(rates[column].reindex([f"{name} {depth}" for name in names]))

    he, smaller = (mean("max_lr", names, 5) for names in (HE, SMALLER))
    return [
        Quantity("max_lr of He's nets, depth 5", he, 0.08, 0.18),
        Quantity("max_lr of twice He over He, depth 5", mean("max_lr", ("he_normal_x2",), 5) / he, 0.4, 0.95),
        Quantity("max_lr of LeCun and Glorot over He, depth 5", smaller / he, 1.1, 2.2),
        Quantity("max_lr of torch_default over He, depth 5", mean("max_lr", ("torch_default",), 5) / he, 1.2, 2.8),
        Quantity("max_lr of He's nets, depth 20 over depth 5", mean("max_lr", HE, 20) / he, 0.2, 0.6),
        Quantity("max_lr of LeCun and Glorot, depth 20 over depth 5", mean("max_lr", SMALLER, 20) / smaller, 1.2, 3),
        Quantity("best accuracy of He's nets, depth 20", mean("val_accuracy", HE, 20), low=0.34),
        Quantity("best accuracy of LeCun and Glorot, depth 20", mean("val_accuracy", SMALLER, 20), high=0.31),
    ]


def super_convergence(table: pd.DataFrame) -> list[Quantity]:
    """Check that one cycle up to a large rate needs fewer epochs, also than the same rate with inverse decay."""
    named = table.assign(option=table["schedule"] + " " + table["optimizer.lr"].astype(float).map("{:g}".format))
    errors = final_errors(named).pivot_table(index="option", columns="epochs", values="mean").sort_index(axis=1)
    short, long = (errors[column] for column in (errors.columns[0], errors.columns[-1]))
    curves = error_curves(named)
    reached = epochs_until(curves, float(best_of_shortest(curves)["mean"])).set_index("option")["reached"]

    def off(errors: "pd.Series[float]", option: str) -> float:
        return float(errors.get(option, np.nan) - errors.get(f"{CYCLE} 0.1", np.nan))

    return [
        Quantity("test error of 1cycle up to 0.1, short runs, %", float(short.get(f"{CYCLE} 0.1", np.nan)), 2.2, 3.7),
        Quantity("more error of inverse decay from 0.01, short runs, %", off(short, f"{FIXED} 0.01"), 2, 5.5),
        Quantity("more error of inverse decay from 0.01, long runs, %", off(long, f"{FIXED} 0.01"), 0.5, 1.6),
        Quantity("more error of inverse decay from 0.1, short runs, %", off(short, f"{FIXED} 0.1"), 0, 3),
        Quantity("more error of 1cycle up to 0.01, short runs, %", off(short, f"{CYCLE} 0.01"), 4.5, 10.5),
        Quantity("epochs of inverse decay to short 1cycle's error", float(reached.get(f"{FIXED} 0.01", np.nan)), 5, 14),
    ]
