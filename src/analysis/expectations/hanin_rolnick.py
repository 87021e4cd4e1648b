"""What the experiments of conf/experiment/hanin_rolnick are expected to show: Hanin & Rolnick 2018, arXiv:1803.01719.

Each function takes the table that the experiment's figure is drawn from, and returns named quantities with the
intervals that its `Expected` allows. Intervals are the stated values ± what other seeds may change: four standard
errors, or for shares of five seeds what they can differ by.
"""

import numpy as np
import pandas as pd

from start_training.analysis.expectations.quantity import Quantity, largest_of, mean_of
from start_training.analysis.start_relation import Concordance, StartEpochs, known_starts, rank_correlation

HE = ("he_normal", "he_uniform")
SMALLER = ("lecun_normal", "glorot_normal", "glorot_uniform")  # half of He's variance, in nets of one width
GROWTH_PER_LAYER = {  # log(κ/2) for the κ = fan_in · Var W of each initializer
    **dict.fromkeys(HE, 0.0),
    "he_truncated_normal": float(np.log(0.7737)),
    "he_normal_x2": float(np.log(2)),
    **dict.fromkeys(SMALLER, -float(np.log(2))),
}
CONSTANT_SCALES = "residual_constant"
CONVERGENT = ("residual_inverse_depth", "residual_geometric_0.75", "residual_geometric_0.5")  # Σ eta of at most 3
ONE_WIDTH_OR_ALTERNATING = ("constant_15", "constant_20", "constant_50", "constant_100", "alternating")


def figure_1a(table: pd.DataFrame) -> list[Quantity]:
    """Check the growth of the mean length per layer, and the plateau of PyTorch's default at 1/(5 width)."""
    ends = _last_layers(table)
    deepest = ends[ends["depth"] == ends["depth"].max()]
    rates = (deepest["log_mean"] / deepest["depth"]).groupby(deepest["initializer"]).mean()
    biased = ends[(ends["initializer"] == "torch_default") & (ends["depth"] >= 20)]
    plateau = np.exp(biased["log_mean"]) * 5 * biased["depth"]  # the width of these nets is their depth
    return [
        *(
            Quantity(f"log growth per layer, {name}", float(rates.get(name, np.nan)), rate - 0.005, rate + 0.005)
            for name, rate in GROWTH_PER_LAYER.items()
        ),
        Quantity("length × 5 width at depth ≥ 20, torch_default", mean_of(plateau), 0.9, 1.1),
    ]


def figure_2a(table: pd.DataFrame) -> list[Quantity]:
    """Check that the mean length of residual nets converges with depth unless all scales are 1."""
    ends = _last_layers(table)
    ends = ends.assign(
        off_theory=ends["log_mean"] - ends["log_mean_theory"],
        off_law=(ends["log_mean"] - ends["log_mean_law"])
        / np.hypot(ends["log_mean_error"], ends["log_mean_error_law"]),
    )
    quantities = []
    for width, nets in ends.groupby(ends["model.width"].astype(int)):
        lengths = nets.pivot_table(index="depth", columns="family", values="log_mean").sort_index()
        per_module = (lengths.iloc[-1] - lengths.iloc[0]) / (lengths.index[-1] - lengths.index[0])
        late = (lengths.iloc[-1] - lengths.iloc[-2]).drop(CONSTANT_SCALES, errors="ignore")
        largest = lengths.iloc[-1].get("residual_geometric_0.9", np.nan)
        quantities += [
            Quantity(f"nats per module with eta = 1, width {width}", float(per_module.get(CONSTANT_SCALES, np.nan)),
                     0.8, 1.25),
            Quantity(f"change over the last modules, other scales, width {width}", largest_of(late), high=0.3),
            Quantity(f"log length with 0.9^l, width {width}", float(largest), np.log(1000), np.log(30000)),
        ]  # fmt: skip
    deepest = ends[ends["depth"] == ends["depth"].max()]
    narrow, wide = (deepest[deepest["model.width"].astype(int) == width] for width in (5, 100))
    constant = narrow[narrow["family"] == CONSTANT_SCALES]
    return [
        *quantities,
        Quantity("largest distance from the wide limit, width 100", largest_of(wide["off_theory"]), high=0.25),
        Quantity("distance from the wide limit with eta = 1, width 5", mean_of(constant["off_theory"]), high=-1),
        Quantity("largest distance from the exact law, s.e., width 5", largest_of(narrow["off_law"]), high=5),
    ]


def failure_mode_2(table: pd.DataFrame) -> list[Quantity]:
    """Check that lengths vary over nets and layers with beta alone, and hardly in residual nets of bounded Σ eta."""
    ends = _last_layers(table)
    ends = ends.assign(beta=ends["beta"].astype(float).round(6))
    plain, residual = ends[ends["beta"].notna()], ends[ends["beta"].isna()]
    off = (plain["log_moment_ratio"] - plain["log_moment_ratio_high_theory"]) / plain["log_moment_ratio_error"]
    varied = plain[plain["beta"] >= 0.4]  # below, the lengths of a net hardly vary
    per_beta = varied["log_moment_ratio"] / varied["beta"]
    over_layers = varied["log_layer_variance"].astype(float)
    one_curve = varied["family"].isin(ONE_WIDTH_OR_ALTERNATING)
    groups = over_layers[one_curve].groupby(varied["beta"][one_curve])
    by_family = varied.pivot_table(index="beta", columns="family", values="log_layer_variance")
    by_family = by_family.reindex(columns=["constant_15", "decreasing", "increasing"])
    shifted = by_family[["decreasing", "increasing"]].sub(by_family["constant_15"], axis=0).melt()["value"]
    return [
        Quantity("log(E[M²]/E[M]²) off Σ log(1 + 5/n), largest, s.e.", largest_of(off), high=5),
        Quantity("log(E[M²]/E[M]²) / beta, smallest", float(per_beta.min()), 3.9, 5.1),
        Quantity("log(E[M²]/E[M]²) / beta, largest", float(per_beta.max()), 3.9, 5.1),
        Quantity("variation over layers at equal beta, largest spread", float((groups.max() - groups.min()).max()),
                 high=0.3),
        Quantity("shift if the narrow half is first or last, largest", largest_of(shifted), 0.3, 1.1),
        Quantity("log(E[M²]/E[M]²) of residual nets, largest", largest_of(residual["log_moment_ratio"]), high=1),
    ]  # fmt: skip


def figure_1b(table: pd.DataFrame) -> list[Quantity]:
    """Check that nets start training later, or not at all, the more their mean length changes over the depth."""
    he, smaller, doubled, biased, truncated = (
        table[table["initializer"].isin(names)]
        for names in (HE, SMALLER, ["he_normal_x2"], ["torch_default"], ["he_truncated_normal"])
    )
    starts = _mean_starts(truncated)
    return [
        _growth_correlation(table, "all", low=0.27),
        _growth_correlation(table.drop(biased.index), "without torch_default", low=0.7),
        Quantity("share of He's nets that start", _share(he), low=0.95),
        Quantity("latest mean start epoch of He's nets", largest_of(_mean_starts(he)), high=5),
        Quantity("delay of he_truncated_normal by depth 30, epochs", starts.get(30, np.nan) - starts.get(5, np.nan), 2),
        Quantity("share of LeCun's and Glorot's nets, depth 30", _share(_deep(smaller, 30)), high=0.2),
        Quantity("share of he_normal_x2, depth ≥ 20", _share(_deep(doubled, 20)), high=0.2),
        Quantity("share of torch_default, depth ≥ 20", _share(_deep(biased, 20)), high=0.2),
    ]


def figure_1b_on_digits(table: pd.DataFrame) -> list[Quantity]:
    """Check the rank correlation only, since digits show the rest less clearly."""
    return [_growth_correlation(table, "all", low=0.29)]


def figure_2b(table: pd.DataFrame) -> list[Quantity]:
    """Check that residual nets start training at every depth if the sum of their scales is bounded."""
    convergent, constant, slow = (
        table[table["family"].isin(names)] for names in (CONVERGENT, [CONSTANT_SCALES], ["residual_geometric_0.9"])
    )
    deepest = table["depth"].max()
    change = _share(slow[slow["depth"] == deepest]) - _share(slow[slow["depth"] == 20])
    return [
        _growth_concordance(table, low=0.95),
        Quantity("share that start with 1/L, 0.75^l and 0.5^l", _share(convergent), low=0.95),
        Quantity("latest mean start epoch with these scales", largest_of(_mean_starts(convergent)), high=2),
        Quantity("share with eta = 1, at least 20 modules", _share(_deep(constant, 20)), high=0.1),
        Quantity("share with 0.9^l, at least 20 modules", _share(_deep(slow, 20)), low=0.2),
        Quantity("change of that share from 20 modules on", change, low=-0.45),
    ]


def figure_2b_on_digits(table: pd.DataFrame) -> list[Quantity]:
    """Check the concordance only, since digits show the rest less clearly."""
    return [_growth_concordance(table, low=0.5)]


def figure_3(table: pd.DataFrame) -> list[Quantity]:
    """Check that critically initialized nets start training later the larger beta is, rather than the depth."""
    known = known_starts(table, "beta", "depth")
    beta = known["beta"].astype(float)
    right = Concordance(StartEpochs.of(known)).where_they_differ(beta, known["depth"].astype(float))
    starts = known["observed_epoch"].astype(float)
    deep = starts[known["depth"] == 80].groupby(known["family"]).mean()
    others = deep.reindex(["constant_15", "decreasing", "increasing"]).mean()
    return [
        _beta_concordance(table, low=0.65),
        Quantity("share in the order of beta where depth differs", right.value, low=0.52),  # 1/2 if depth decides
        Quantity("mean start epoch at beta = 1", mean_of(starts[beta == 1]), 1.5, 4),
        Quantity("mean start epoch at beta ≥ 4", mean_of(starts[beta >= 4 - 1e-6]), 6, 18),
        Quantity(
            "delay against constant_20 at depth 80, epochs", float(others - deep.get("constant_20", np.nan)), low=2
        ),
    ]


def figure_3_on_digits(table: pd.DataFrame) -> list[Quantity]:
    """Check that starts are later as beta grows; digits do not distinguish beta from depth."""
    return [_beta_concordance(table, low=0.55)]


def _last_layers(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["layer"] == table["depth"]]


def _growth_correlation(table: pd.DataFrame, runs: str, *, low: float) -> Quantity:
    known = known_starts(table, "log_growth")
    value = rank_correlation(StartEpochs.of(known), known["log_growth"]).value
    return Quantity(f"rank correlation of start and growth, {runs}", value, low)


def _growth_concordance(table: pd.DataFrame, *, low: float) -> Quantity:
    known = known_starts(table, "log_growth")
    value = Concordance(StartEpochs.of(known)).of(known["log_growth"]).value
    return Quantity("concordance of start epochs and growth", value, low)


def _beta_concordance(table: pd.DataFrame, *, low: float) -> Quantity:
    known = known_starts(table, "beta")
    value = Concordance(StartEpochs.of(known)).of(known["beta"].astype(float)).value
    return Quantity("concordance of start epochs and beta", value, low)


def _share(runs: pd.DataFrame) -> float:
    """Return the share of runs whose training started, among those of which that is known."""
    return mean_of(runs["started"])


def _mean_starts(runs: pd.DataFrame) -> "pd.Series[float]":
    """Return the mean start epoch for each depth; a run that never started counts with the number of its epochs."""
    return runs["observed_epoch"].astype(float).groupby(runs["depth"]).mean()


def _deep(runs: pd.DataFrame, depth: int) -> pd.DataFrame:
    return runs[runs["depth"] >= depth]
