"""Tables as the small experiments of conf/ give them, made from the numbers that their files state, or from others."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd

from start_training.order_chaos.scaling_law import scaling_variable

INITIALIZERS = ("he_normal", "he_uniform", "he_truncated_normal", "he_normal_x2", "lecun_normal", "glorot_normal",
                "glorot_uniform", "torch_default")  # fmt: skip
RATES = dict(zip(INITIALIZERS, (0, 0, -0.2566, 0.6931, -0.6931, -0.6931, -0.6931, -0.02), strict=True))
FAMILIES = ("residual_constant", "residual_inverse_depth", "residual_geometric_0.9", "residual_geometric_0.75",
            "residual_geometric_0.5")  # fmt: skip
SUMS = dict(zip(FAMILIES, (np.inf, 0.4, 9.0, 2.4, 0.5), strict=True))  # where the log length of a family ends
WIDTHS = {"constant_15": 15, "constant_20": 20, "constant_50": 50, "constant_100": 100, "alternating": 15.0,
          "decreasing": 15.0, "increasing": 15.0}  # fmt: skip


def figure_1a(*, rate: float | None = None, plateau: float = 1.0) -> pd.DataFrame:
    """Layers; `rate`: the growth of he_normal's lengths per layer, `plateau`: torch_default's times 5 width."""
    rows = []
    for name, depth in product(INITIALIZERS, (10, 50, 100)):
        growth = RATES[name] if rate is None or name != "he_normal" else rate
        length = np.log(plateau / (5 * depth)) if name == "torch_default" else growth * depth
        rows.append({"initializer": name, "depth": depth, "layer": depth, "log_mean": length})
        rows.append({"initializer": name, "depth": depth, "layer": 0, "log_mean": 0.0})
    return pd.DataFrame(rows)


def figure_2a(*, late: float = 0.0, constant: float = 1.0) -> pd.DataFrame:
    """Layers; `late`: nats that 0.75^l grows after 40 modules, `constant`: nats per module with eta = 1."""
    rows = []
    for width, family, depth in product((5, 100), FAMILIES, (5, 40, 50)):
        length = constant * depth if family == FAMILIES[0] else SUMS[family]
        length += late * (depth == 50 and family == "residual_geometric_0.75")
        theory = length + (4 if width == 5 and family == FAMILIES[0] else 0.01)
        facts = {"model.width": width, "family": family, "depth": depth, "layer": depth, "log_mean": length}
        law = {"log_mean_law": length + 0.05, "log_mean_error": 0.05, "log_mean_error_law": 0.05}
        rows.append({**facts, **law, "log_mean_theory": theory})
    return pd.DataFrame(rows)


def failure_mode_2(*, by_depth: bool = False, residual: float = 0.5) -> pd.DataFrame:
    """Layers; `by_depth`: lengths vary with depth instead of beta, `residual`: how much those of residual nets do."""
    rows = []
    for family, depth in product(WIDTHS, (2, 20, 40, 60, 80, 100)):
        beta = depth / WIDTHS[family]
        ratio = depth * (np.log1p(5 / WIDTHS[family]) if not by_depth else 0.1)
        over_layers = np.log(depth / 20 if by_depth else beta) - 0.7 * (family == "decreasing")
        facts = {"family": family, "depth": depth, "layer": depth, "beta": beta}
        theory = {"log_moment_ratio_high_theory": depth * np.log1p(5 / WIDTHS[family]), "log_moment_ratio_error": 0.05}
        rows.append({**facts, **theory, "log_moment_ratio": ratio, "log_layer_variance": over_layers})
    for depth in (2, 100):
        nets = {"family": "residual_inverse_depth", "depth": depth, "layer": depth, "beta": np.nan}
        rows.append({**nets, "log_moment_ratio": residual, "log_layer_variance": -4.0, "log_moment_ratio_error": 0.02})
    return pd.DataFrame(rows)


def _runs(
    key: str, options: tuple, depths: tuple, epochs: int, start: Callable[[str, int], float], **facts
) -> pd.DataFrame:
    """Runs of five seeds that start in the epoch of `start`, or never if it is above `epochs`; seeds 3 and 4 later."""
    rows = []
    for option, depth, seed in product(options, depths, range(5)):
        epoch = start(option, depth) + (seed > 2) * (start(option, depth) > 2)
        started = epoch <= epochs
        known = {name: value(option, depth) for name, value in facts.items()}
        known |= {"seed": seed, "configuration": f"{option} {depth}", "observed_epoch": min(epoch, epochs)}
        rows.append({key: option, "depth": depth, "started": started, **known})
    return pd.DataFrame(rows).astype({"started": "boolean", "observed_epoch": "Int64"})


def figure_1b(*, he: int = 2, lecun: int = 99, relation: bool = True) -> pd.DataFrame:
    """Runs; `he`, `lecun`: epoch in which deep nets of these start; without `relation` all others start at once."""

    def start(name: str, depth: int) -> int:
        if name in ("he_normal", "he_uniform"):
            return he if depth == 30 else 2
        if not relation:
            return 2
        if name == "he_truncated_normal":
            return {5: 2, 10: 3, 20: 5, 30: 8}[depth]
        return {5: 4, 10: 9}.get(depth, lecun if "lecun" in name or "glorot" in name else 99)

    growth = {"log_growth": lambda name, depth: abs(RATES[name]) * depth}
    return _runs("initializer", INITIALIZERS, (5, 10, 20, 30), 15, start, **growth)


def figure_2b(*, convergent: int = 1, constant: int = 99, reverse: bool = False) -> pd.DataFrame:
    """Runs; `convergent`, `constant`: epoch in which deep nets with 0.5^l, or eta = 1, start; `reverse`: the order."""

    def start(family: str, depth: int) -> int:
        if reverse:
            return 1 if SUMS[family] > 5 else 9
        if family == FAMILIES[0]:
            return constant if depth >= 20 else 2
        if family == "residual_geometric_0.9":
            return 15 if depth >= 20 else 1  # two seeds in five never
        return convergent if family == FAMILIES[-1] and depth == 40 else 1

    growth = {"log_growth": lambda family, depth: min(SUMS[family], 1.1 * depth)}
    return _runs("family", FAMILIES, (5, 10, 20, 40), 15, start, **growth)


def figure_3(*, by: str = "beta") -> pd.DataFrame:
    """Runs whose start epoch is a function of beta, of the depth, or of nothing (`by`)."""
    families = ("constant_15", "constant_20", "alternating", "decreasing", "increasing")

    def start(family: str, depth: int) -> int:
        x = {"beta": depth / WIDTHS[family], "depth": depth / 17, "nothing": 1.0, "growth": -depth / 17}[by]
        return round(1 + 0.55 * x**1.9) if x > 0 else round(14 + 2 * x)

    beta = {"beta": lambda family, depth: depth / WIDTHS[family]}
    return _runs("family", families, (15, 20, 30, 40, 60, 80), 20, start, **beta)


def _tests(key: str, nets: dict, seeds: int = 3) -> pd.DataFrame:
    """Rows of range tests that suggest the rate, and reach the loss and accuracy, of each configuration."""
    rows = []
    for (option, depth), (rate, loss, accuracy) in nets.items():
        facts = {key: option, "depth": depth, "val_accuracy": accuracy, "min_lr": 0.01, "cyclical_min_lr": 0.02}
        for seed, learning_rate in product(range(seeds), (0.01, 0.1)):
            run = {"seed": seed, "directory": f"{option} {depth} {seed}", "name": f"seed={seed}", "rule": "why"}
            result = {"max_lr": rate * (1 + 0.05 * (seed - 1)), "turned": True, "val_loss": loss + 0.01 * seed}
            rows.append({**facts, **run, **result, "learning_rate": learning_rate})
    return pd.DataFrame(rows)


def cifar10_weight_decay(*, last_rate: float = 0.063, last_loss: float = 1.72) -> pd.DataFrame:
    """Range tests; the rate and the loss with weight decay 1e-2."""
    nets = {(0.0, 2): (0.15, 1.64, 0.4), (1e-4, 2): (0.14, 1.66, 0.4), (1e-3, 2): (0.13, 1.62, 0.4)}
    return _tests("optimizer.weight_decay", nets | {(1e-2, 2): (last_rate, last_loss, 0.4)})


def largest_rate(*, deep_he: float = 0.045, lecun: float = 0.18) -> pd.DataFrame:
    """Range tests; the rate of He's nets at depth 20, and of LeCun's and Glorot's at depth 5."""
    nets = {}
    for name in INITIALIZERS:
        he, smaller = name in INITIALIZERS[:2], "lecun" in name or "glorot" in name
        shallow = {"he_normal_x2": 0.09, "torch_default": 0.22}.get(name, lecun if smaller else 0.125)
        deep = deep_he if he else 1.8 * shallow
        nets |= {(name, 5): (shallow, 1, 0.6), (name, 20): (deep, 2, 0.42 if he else 0.23)}
    return _tests("initializer", nets)


def super_convergence(*, cycle: float = 2.93, fixed: float = 6.65) -> pd.DataFrame:
    """Epochs; test errors in percent, after short runs, of 1cycle up to 0.1 and of inverse decay from 0.01."""
    errors = {("one_cycle", 0.1): (cycle, 1.21), ("inverse", 0.01): (fixed, 2.23), ("inverse", 0.1): (4.22, 1.85),
              ("one_cycle", 0.01): (10.41, 2.77)}  # fmt: skip
    rows = []
    for ((schedule, rate), ends), (length, end), seed in product(errors.items(), ((2, 0), (14, 1)), range(5)):
        name = f"{schedule} {rate} {length}"
        for epoch in range(length):
            left = (length - 1 - epoch) / max(length - 1, 1)
            error = ends[end] + left * (20 if (schedule, rate) != ("inverse", 0.01) else 2.2)
            rows.append({"schedule": schedule, "optimizer.lr": rate, "seed": seed, "configuration": name,
                         "directory": f"{name} {seed}", "epoch": epoch, "val/accuracy": 1 - error / 100,
                         "test/accuracy": 1 - ends[end] / 100 if left == 0 else np.nan})  # fmt: skip
    return pd.DataFrame(rows)


def phases(*runs: dict, seeds: int = 2, steps: int = 1875) -> pd.DataFrame:
    """Rows of a square layer; a run has eta, alpha, batch, J2 (a function of the epoch), epochs, decay and loss."""
    tables = []
    for (number, given), seed in product(enumerate(runs), range(seeds)):
        run = {
            "alpha": 0.0,
            "batch": 32,
            "epochs": 20,
            "decay": 0.0,
            "loss": lambda J: 0.35 + 0.1 * (J - 1) ** 2,
        } | given
        t = np.linspace(0, run["epochs"], 4 * int(run["epochs"]) + 1)
        J2 = run["J2"](t) * (1 + 1e-3 * seed * (t > 0))
        facts = {"eta": run["eta"], "alpha": run["alpha"], "batch": run["batch"], "weight_decay": run["decay"]}
        facts |= {"scaling": scaling_variable(run["eta"], run["alpha"], run["batch"]), "directory": f"{number} {seed}"}
        facts |= {"configuration": str(number), "seed": seed, "layer": 0, "fan_in": 9, "fan_out": 9, "J0": 0.02}
        facts |= {name: run[name] for name in ("vary",) if name in run}
        J = np.sqrt(J2)
        tested = {"test/loss": run["loss"](J), "test/accuracy": 0.9}
        table = pd.DataFrame({"step": (t * steps).round().astype(int), "epoch": t, "J2": J2, "J": J, **tested})
        tables.append(table.assign(**facts))
    return pd.concat(tables, ignore_index=True)


def slope(*, power: float = 1.0, bend: float = 0.0) -> pd.DataFrame:
    """Phases; A ∝ eta^power, and `bend` of J²'s growth quadratic."""
    stated = {0.025: 0.0159, 0.05: 0.0340, 0.1: 0.0736}
    slopes = {eta: A if power == 1 else 0.0736 * (eta / 0.1) ** power for eta, A in stated.items()}
    runs = [
        {"eta": eta, "epochs": 12, "J2": lambda t, A=A: 0.29 + A * t + bend * A * t**2} for eta, A in slopes.items()
    ]
    return phases(*runs, seeds=1)


def scaling(*, power: float = 1.0) -> pd.DataFrame:
    """Phases of runs that vary eta, alpha or batch; A ∝ the scaling variable to a power."""
    runs: list[dict] = [{"vary": "eta", "eta": eta, "alpha": 0.5, "batch": 16} for eta in (0.001, 0.01, 0.1)]
    runs += [{"vary": "alpha", "eta": 0.01, "alpha": alpha, "batch": 32} for alpha in (0, 0.75, 0.95)]
    runs += [{"vary": "batch", "eta": 0.05, "alpha": 0, "batch": batch} for batch in (4, 32, 512)]
    for run in runs:
        A = 11.1 * 0.003 * (scaling_variable(run["eta"], run["alpha"], run["batch"]) / 0.003) ** power
        run |= {"epochs": 15, "J2": lambda t, A=A: 0.25 + A * t}
    return phases(*runs, seeds=1)


def collapse(*, equal: float = 0.01, past: float = 0.0) -> pd.DataFrame:
    """Phases; `equal`: relative difference of J² between runs of equal scaling variables, at equal epochs."""
    settings = [(0.1, 32, 8), (0.05, 16, 8), (0.1, 16, 4), (0.1, 64, 16)]
    runs = []
    for number, (eta, batch, epochs) in enumerate(settings):
        A = 24 * eta / batch * (1 + equal * (number == 1))
        runs.append({"eta": eta, "batch": batch, "epochs": epochs, "J2": lambda t, A=A: 0.25 + A * t})
    return phases(*runs)


def past_the_edge(*, ordered: float = 0.15, past: float = 0.09) -> pd.DataFrame:
    """Phases; the relative standard deviation of the growth of J² on both sides of the edge, at rescaled time."""
    runs = []
    for offset, (batch, epochs) in zip(
        np.linspace(-1, 1, 4) / 0.861, ((8, 6), (16, 12), (32, 24), (64, 48)), strict=True
    ):
        before, after = (20 * (1 + size * offset) * 0.1 / batch for size in (ordered, past))
        edge = 0.375 * batch  # the epoch at which the mean curve of J² reaches 1

        def J2(t, edge=edge, before=before, after=after):
            return 0.25 + before * np.minimum(t, edge) + after * np.maximum(t - edge, 0)

        runs.append({"eta": 0.1, "batch": batch, "epochs": epochs, "J2": J2})
    return phases(*runs)


def trajectory(*, J0: float = 0.02, rate: float = 0.0736, best: float = 1.02) -> pd.DataFrame:
    """Phases; J0, the slope of J² with eta = 0.1, and J at the lowest test loss with eta = 0.05."""
    runs = [
        {"eta": 0.1, "epochs": 24, "J2": lambda t: 0.29 + rate * t, "loss": lambda J: 0.357 + (J - 1.28) ** 2},
        {"eta": 0.05, "epochs": 24, "J2": lambda t: 0.29 + 0.0342 * t, "loss": lambda J: 0.339 + (J - best) ** 2},
    ]
    return phases(*runs).assign(J0=J0)


def weight_decay(*, star: float = 1.0, loss: float = 0.391) -> pd.DataFrame:
    """Phases; `star`: factor on the growth without weight decay, `loss`: the final test loss with 4e-4."""
    ends = {0.0: (1.93, 0.364), 4e-4: (1.09, loss), 6e-4: (0.95, 0.4)}
    runs = []
    for decay, (J, final) in ends.items():
        grown = star * (J**2 - 0.25) / 24 if decay == 0 else (J**2 - 0.25) / 24
        runs.append({"eta": 0.2, "batch": 64, "epochs": 24, "decay": decay, "J2": lambda t, A=grown: 0.25 + A * t,
                     "loss": lambda J, final=final: np.full_like(J, final)})  # fmt: skip
    return phases(*runs, steps=938)


def two_papers(*, after: float = 0.12, accuracy: float = 0.11) -> pd.DataFrame:
    """Layers and steps; the growth of LeCun's lengths after training, and the accuracy with PyTorch's default."""
    rows = []
    log_chi = {"he_normal": 0.0, "lecun_normal": -0.6931, "torch_default": -1.8, "critical": 0.0}
    for activation, (name, chi), seed, layer in product(("relu", "tanh"), log_chi.items(), range(2), range(4)):
        J2 = np.exp(chi) * (2 if activation == "relu" else 1)
        growth = {"torch_default": -0.02}.get(name, chi if activation == "relu" else -0.05)
        for step, grown in ((0, growth), (460, after if name == "lecun_normal" else growth)):
            rows.append({"activation": activation, "initializer": name, "seed": seed, "layer": layer, "step": step,
                         "directory": f"{activation} {name} {seed}", "configuration": f"{activation} {name}", "J2": J2,
                         "bias_variance": 0.0, "length_before": 1e-4, "length": 1e-4 * np.exp(grown),
                         "final_accuracy": accuracy if name == "torch_default" else 0.93})  # fmt: skip
    return pd.DataFrame(rows)
