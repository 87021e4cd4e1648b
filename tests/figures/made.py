"""Generated tables for every figure, and functions that read points and texts from a drawn figure."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from start_training.analysis.chi_and_growth import mean_rates
from start_training.figures.labels import label
from start_training.theory.activation import ACTIVATIONS
from start_training.theory.critical_point import length_map

MAXIMUM = 30  # epochs of the runs that never start
RATES = np.geomspace(1e-3, 10, 41)


def layers(depth: int = 5, *, shift: float = 0.0, theory: bool = True, law: bool = True) -> pd.DataFrame:
    """Generate a layer table of an ensemble in which all numbers differ."""
    j = np.arange(depth + 1)
    table = pd.DataFrame({"layer": j, "dead": 0.0})
    measured = ["log_mean", "log_moment_ratio", "log_layer_variance"]
    for number, name in enumerate([*measured, *(f"{name}_error" for name in measured), "low", "median", "high"]):
        table[name] = shift + 0.01 * number + 0.1 * j
        if law:
            table[f"{name}_law"] = shift + 0.005 + 0.01 * number + 0.1 * j
    if theory:
        table["log_mean_theory"] = shift + 0.5 + 0.1 * j
        table["log_moment_ratio_high_theory"] = shift + 0.6 + 0.1 * j
    return table.assign(beta=j / 20 if theory else np.nan)


def ensembles(by: str, *options: str, **columns: bool) -> pd.DataFrame:
    """Generate a sweep of ensembles over the depths 8, 4 and 2 and over the options."""
    tables = [
        layers(depth, shift=number, **columns).assign(depth=depth, nets=1000, **{by: option})
        for number, option in enumerate(options)
        for depth in (8, 4, 2)
    ]
    return pd.concat(tables, ignore_index=True)


def ramps(*, blow: float = np.inf, **turns: float) -> pd.DataFrame:
    """Generate range tests of three seeds for each weight decay (w0 is 0), whose loss rises beyond the given rate."""
    steps, tests = np.arange(len(RATES)), []
    for name, turn in (turns or {"w0": 0.5, "w1": 0.1}).items():
        for seed in range(3):
            best = turn * 2 ** (0.5 * (seed - 1))
            loss = np.where(best >= RATES, 2.4 - 2 * RATES / best, 0.4 + 10 * np.log(RATES / best))
            end = int(np.argmax(4 * best < RATES))
            loss[end] = blow
            seen = (steps % 4 == 0) | (steps == end)
            test = {"directory": f"{name}{seed}", "seed": seed, "optimizer.weight_decay": float(name[1:]),
                    "initializer": "he_normal", "varied": f"optimizer.weight_decay={name[1:]}",
                    "step": steps, "learning_rate": RATES, "train_loss": loss - 0.1 * seed,
                    "val_loss": np.where(seen, loss, np.nan), "max_lr": best,
                    "val_accuracy": np.where(seen, np.clip(1 - loss / 2.4, 0, 1), np.nan)}  # fmt: skip
            tests.append(pd.DataFrame(test)[: end + 1])
    return pd.concat(tests, ignore_index=True)


NO_RATE = (np.nan, 0.1)  # max_lr and accuracy of a range test without a usable rate
LARGEST = {
    "he_normal": {10: [(0.2, 0.8), (0.1, 0.9), (0.4, 0.7)], 5: [(0.5, 0.9)] * 3, 20: [(0.05, 0.5)] * 3},
    "lecun_normal": {5: [(0.4, 0.6)] * 3, 10: [(0.3, 0.15)] * 3, 20: [NO_RATE] * 3},
    "mine": {5: [(0.3, 0.6), (0.3, 0.6), NO_RATE]},
}


def largest_rates(**tests: dict[int, list[tuple[float, float]]]) -> pd.DataFrame:
    """Generate range tests; for each initializer and depth the pairs (max_lr, highest accuracy) of its seeds."""
    rows = [
        {"directory": f"{option}{depth}{seed}", "name": f"{option} {depth} {seed}", "seed": seed, "step": step,
         "initializer": option, "varied": f"initializer={option} depth={depth}", "configuration": f"{option}{depth}",
         "depth": depth, "learning_rate": 10.0**step, "val_loss": 1.0 - 0.1 * step, "max_lr": rate,
         "val_accuracy": accuracy * (1 + step) / 2, "min_lr": rate / 10, "cyclical_min_lr": rate / 3,
         "turned": not np.isnan(rate), "rule": "because"}
        for option, depths in (tests or LARGEST).items()
        for depth, pairs in depths.items()
        for seed, (rate, accuracy) in enumerate(pairs)
        for step in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


STARTS = {
    "he_normal": {30: [4, 6, 5], 10: [2, 2, 2], 20: [3, 4, 8]},
    "lecun_normal": {10: [3, 5, 4], 20: [20, 28, None], 30: [None, None, None]},
    "users_own": {10: [7, 7, 9], 30: [None, None, None]},
}


def starts(**cells: dict[int, list[int | None]]) -> pd.DataFrame:
    """Generate runs; for each option and depth the start epochs of its seeds, None for one that never started."""
    rows = [
        {"initializer": option, "depth": depth, "beta": depth / 10, "configuration": f"{option} {depth}",
         "started": epoch is not None, "observed_epoch": epoch or MAXIMUM, "max_epochs": MAXIMUM,
         "log_growth": depth / 5 + seed / 100, "start_metric": "test/accuracy", "start_threshold": 0.2}
        for option, depths in (cells or STARTS).items()
        for depth, epochs in depths.items()
        for seed, epoch in enumerate(epochs)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"started": "boolean", "observed_epoch": "Int64", "max_epochs": "Int64"})


ERRORS = {
    "one_cycle_2": [[20, 4], [30, 5], [25, 3]],
    "inverse_2": [[20, 12], [18, 10], [22, 11]],
    "inverse_6": [[20, 12, 9, 5, 3.5, 3], [18, 10, 7, 5, 4, 3], [22, 11, 8, 5, 3, 3]],
}


def errors(**changes: list[list[float]]) -> pd.DataFrame:
    """Generate runs; for each `schedule_epochs` the validation errors of its seeds in percent; test errors add 0.5."""
    rows = []
    for name, seeds in (ERRORS | changes).items():
        schedule, _, budget = name.rpartition("_")
        for seed, curve in enumerate(seeds):
            facts = {"directory": f"{name} {seed}", "configuration": name, "seed": seed, "schedule": schedule}
            facts |= {"optimizer.lr": 0.1, "trainer.max_epochs": int(budget)}
            rows += [facts | {"epoch": at, "val/accuracy": 1 - error / 100} for at, error in enumerate(curve)]
            if len(curve) == int(budget):  # otherwise the run is unfinished or has diverged
                rows.append(facts | {"epoch": len(curve), "test/accuracy": 1 - (curve[-1] + 0.5) / 100})
    return pd.DataFrame(rows)


def growing(activation="relu", initializer="he_normal", seed=0, *, J2=2.0, bias_variance=0.0, noise=0.0):
    """Generate rows of a run whose lengths follow the length map times e^(step/100) per layer."""
    rows, random = [], np.random.default_rng(seed)
    for step in (0, 20, 40):
        length = 1.0
        for layer in range(4):
            after = length_map(ACTIVATIONS[activation], J2 * length + bias_variance, 1.0)
            after *= np.exp(step / 100 + noise * random.normal())
            rows.append({"activation": activation, "initializer": initializer, "seed": seed, "layer": layer,
                         "step": step, "J2": J2, "bias_variance": bias_variance, "length_before": length,
                         "length": after, "final_accuracy": 0.9})  # fmt: skip
            length = after
    name = f"{activation} {initializer}"
    return pd.DataFrame(rows).assign(directory=f"{name} {seed}", configuration=name)


def lengths(layers: int = 3, steps: int = 4, *, name: str = "hidden.{}.activation") -> pd.DataFrame:
    """Generate the mean lengths of a run by layer and step, in which all log lengths differ."""
    names = ["input", *(name.format(number) for number in range(layers - 1))]
    index = pd.MultiIndex.from_arrays([range(layers), names], names=["layer", "name"])
    logs = 0.1 * np.arange(layers)[:, None] - 2 * np.arange(steps) / steps
    return pd.DataFrame(np.exp(logs), index, pd.RangeIndex(steps, name="step"))


def rates_of(table: pd.DataFrame) -> pd.DataFrame:
    """Compute `mean_rates` with the initializer as option."""
    return mean_rates(table.assign(option=table["initializer"].map(label)))


def growths(**settings: float) -> pd.DataFrame:
    return pd.concat(
        growing(activation, initializer, seed, J2=J2, **settings)
        for activation in ("relu", "tanh")
        for initializer, J2 in (("he_normal", 2.0), ("lecun_normal", 1.0))
        for seed in (0, 1, 2)
    )


def texts(figure: Figure) -> list[str]:
    """Return the texts of all legends of a figure."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def beneath(figure: Figure) -> str:
    return figure.get_supxlabel().replace("\n", " ")


def markers(axes: Axes, *, filled: bool) -> list[tuple[Any, float, float]]:
    """Return marker, x and y of each point, without the ends of error bars."""
    points = []
    for line in axes.lines:
        full = to_rgba(line.get_markerfacecolor()) == to_rgba(line.get_color())
        marker = line.get_marker()
        if line.get_linestyle() == "None" and isinstance(marker, str) and marker not in ("_", "|") and full is filled:
            points += [(marker, float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]
    return sorted(point for point in points if not np.isnan(point[2]))


def solid(axes: Axes, colour: str, *, thin: bool = False) -> list[np.ndarray]:
    """Return the points of each solid line in this colour; vertical and horizontal marks are not solid."""
    lines = [line for line in axes.lines if line.get_color() == colour and line.get_linestyle() == "-"]
    return [line.get_xydata() for line in lines if (line.get_linewidth() < 1) is thin]


def grid(**values: Any) -> pd.DataFrame:
    """Return a table with a row for each combination of the values."""
    return pd.MultiIndex.from_product(values.values(), names=values).to_frame(index=False)


DECAYED = grid(option=["0 λ*", "λ*"], seed=[0, 1], epoch=np.arange(5.0))  # a trial of the weight-decay guideline
DECAYED["J2"] = DECAYED["option"].map({"0 λ*": 0.3, "λ*": 0.1}) * DECAYED["epoch"] + DECAYED["seed"]
DECAYED["test/loss"] = 1 / DECAYED["epoch"].where(DECAYED["epoch"] > 0)
DECAYED["test/accuracy"] = 0.1 / DECAYED["test/loss"]
PREDICTED = pd.DataFrame({"option": ["0 λ*"] * 2 + ["λ*"] * 2, "epoch": [0.0, 4.0] * 2, "J2": [0.2, 1.2, 0.2, 0.9]})
WEIGHT_DECAYS = pd.DataFrame({"option": ["0 λ*", "λ*"], "weight_decay": [0.0, 3e-3]})


def searched(*options: str, losses: Any = None) -> pd.DataFrame:
    """Generate the range tests of a search, with two seeds for each option."""
    table = grid(option=options, seed=[0, 1], step=range(9))
    losses = np.linspace(2.0, 0.5, 9) if losses is None else losses
    rates, losses = np.geomspace(1e-4, 1.0, 9)[table["step"]], losses[table["step"]]
    return table.assign(learning_rate=rates, val_loss=losses + 0.1 * table["seed"])


def trained(option: str, seeds: int = 2, epochs: int = 3) -> pd.DataFrame:
    """Generate the training runs of an option of a search."""
    table = grid(option=[option], seed=range(seeds), epoch=range(epochs))
    return table.assign(**{"val/loss": 1 / (table["epoch"] + 1), "val/accuracy": 0.3 * table["epoch"]})


def options(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"option": names, "max_lr": np.linspace(0.1, 0.2, len(names))})
