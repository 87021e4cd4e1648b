"""Report about the runs of a sweep that recorded phases: slopes of J², exponents of the scaling law, spread, and λ*."""

from functools import cached_property
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from start_training.analysis.collapse import GROWTH, QUANTITIES, collapse
from start_training.analysis.decay_points import lambda_stars
from start_training.analysis.phase_curves import layer_rows, with_scaling
from start_training.analysis.phase_slopes import constant_spread, exponents, phase_slopes, window_rule
from start_training.figures.collapse import spread_text
from start_training.figures.labels import option_of
from start_training.figures.scaling import NAMES, exponent_text, missing_slopes
from start_training.order_chaos.slope import MAX_BEND
from start_training.reports.sweep_tables import SweepTable, number_table, print_first
from start_training.reports.terminal import print_lines, print_table

SETTINGS = ["eta", "alpha", "batch", "weight_decay", "scaling"]
LETTERS = {**NAMES, "weight_decay": "weight_decay"}
FACTORS = {"eta": "η", "alpha": "1/(1 − α)", "batch": "1/B"}  # factors of the scaling variable
MEANS = ["slope", "constant", "J2_at_end", "edge_epoch", "lowest_epoch", "lowest_J", "lowest_loss"]
MEANS += ["final_J", "final_loss", "final_accuracy"]
SPREADS = {**{name: name for name in QUANTITIES}, "J2": "J²", GROWTH: "growth of J²"}  # quantities as printed


class PhaseRuns(SweepTable):
    """Table of the phases of layers, with slopes of J², their exponents, the spread of curves, and λ*."""

    kind = "phase"
    name = "phases"
    needed = "recorded the phase of a layer; train with callbacks=phase"

    @cached_property
    def slopes(self) -> pd.DataFrame:
        """Result of `phase_slopes` for the figure's window and layer, with the settings of each run as option."""
        settings = {key: self.node[key] for key in ("window", "window_in", "layer") if key in self.node}
        return phase_slopes(self.drawn.assign(option=_options(self.drawn)), **settings)

    @cached_property
    def spreads(self) -> pd.DataFrame | None:
        """Result of `collapse` if the figure is `draw_collapse`; None for other figures."""
        if not str(self.node["_target_"]).endswith(".draw_collapse"):
            return None
        return collapse(with_scaling(layer_rows(self.drawn, self.node.get("layer"))))

    @property
    def rule(self) -> str:
        """Description of the window over which slopes are fitted."""
        return window_rule(**{key: self.node[key] for key in ("window", "window_in") if key in self.node})

    def tables(self) -> dict[str, pd.DataFrame]:
        return {**super().tables(), "slopes": by_configuration(self.slopes)}

    def show(self) -> None:
        """Print missing runs, slopes, losses, exponents, constant, spread of curves, λ*, and runs without a slope."""
        super().show()
        configurations = by_configuration(self.slopes)
        print_table(_slopes_table(configurations, self.rule))
        print_table(_ends_table(configurations))
        print_lines(*_law_lines(self.slopes), *self._spread_lines(), *_decay_lines(self.slopes))
        print_first("warning", self._early_fits())
        print_first("no slope", missing_slopes(self.slopes))

    def answer(self) -> dict[str, Any]:
        """Return the results for the JSON file.

        Returns:
            window: Description of the window of the fits; configurations: rows of `by_configuration`; exponents: value,
            low, high and points for each setting, or None; constant: see `constant_spread`; no_slope: run, option and
            reason of each run without a slope; collapse: rows of `collapse`, only for the figure of that name;
            edge_decay: λ*, its error and the weight_decay 2 λ* of each option.
        """
        without = self.slopes[self.slopes["slope"].isna()]
        return {
            "window": self.rule,
            "configurations": _records(by_configuration(self.slopes)),
            "exponents": {name: vars(fit) if fit else None for name, fit in exponents(self.slopes).items()},
            "constant": constant_spread(self.slopes),
            "no_slope": [
                {"run": row["directory"], "option": row["option"], "reason": row["reason"]}
                for _, row in without.iterrows()
            ],
            **({} if self.spreads is None else {"collapse": _records(self.spreads)}),
            "edge_decay": {
                option: {"lambda": mean, "error": error, "weight_decay": 2 * mean}
                for option, (mean, error) in _edge(self.slopes).items()
            },
        }

    def _early_fits(self) -> list[str]:
        """Return a line for each configuration whose fit lies in the fast first part of training.

        The rule is that of the weight-decay guideline; as there, a window that the user has set is accepted as it is.
        """
        if self.node.get("window", "half") != "half":
            return []
        growing = self.slopes[self.slopes["bend_at_edge"].notna()]
        bends = growing.groupby("option", sort=False)[["bend_at_edge", "slope", "intercept"]].mean()
        return [
            f"{option or 'all'}: the growth of J² must be linear up to J² = 1, but extrapolated to epoch "
            f"{(1 - row['intercept']) / row['slope']:.4g}, where the line reaches 1, its slope changes by "
            f"{row['bend_at_edge']:+.0%}: the fit lies in the fast first part of training, and the constant of such a "
            "fit is too large; train for more epochs, or with a larger eta / ((1 − alpha) B)"
            for option, row in bends.iterrows()
            if abs(row["bend_at_edge"]) > MAX_BEND
        ]

    def _spread_lines(self) -> list[str]:
        if self.spreads is None:
            return []
        texts = [(name, spread_text(self.spreads, quantity)) for quantity, name in SPREADS.items()]
        return [f"spread of {name}: {text}" for name, text in texts if text]


def _options(drawn: pd.DataFrame) -> "pd.Series[str]":
    """Name the configuration of each row, by the symbols η, α and B if these distinguish all configurations."""
    varied = [name for name in LETTERS if drawn[name].nunique() > 1]
    if varied:
        words = [drawn[name].map(f"{LETTERS[name]} {{:g}}".format) for name in varied]
        short = pd.Series([", ".join(parts) for parts in zip(*words, strict=True)], index=drawn.index)
        if short.nunique() == drawn["configuration"].nunique():
            return short
    return option_of(drawn, None)


def by_configuration(slopes: pd.DataFrame) -> pd.DataFrame:
    """Average the result of `phase_slopes` over the runs of each configuration.

    Args:
        slopes: Result of `phase_slopes`, with a column option that names the curve of each run.

    Returns:
        One row for each configuration. Columns option and `SETTINGS`; runs, the number of runs; fitted, how many have a
        slope; bent, how many have a J² that is not linear in the window; start and end, the mean window in epochs; the
        mean of each quantity X in `MEANS`, and its standard error X_error.
    """
    groups = slopes.assign(final_J=slopes["final_J2"] ** 0.5).groupby("configuration", sort=False)
    sizes = groups.agg(runs=("slope", "size"), fitted=("slope", "count"), bent=("bent", "sum"))
    means = groups[["start", "end", *MEANS]].mean().join(groups[MEANS].sem().add_suffix("_error"))
    columns = ["start", "end", *(f"{name}{end}" for name in MEANS for end in ("", "_error"))]
    return groups[["option", *SETTINGS]].first().join(sizes).join(means[columns]).reset_index(drop=True)


def _edge(slopes: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return `lambda_stars` if the sweep varies the weight decay.

    If eta, alpha and batch are constant, all runs without weight decay form a single option, `all`.
    """
    if slopes["weight_decay"].nunique() < 2:
        return {}
    settings = slopes[["eta", "alpha", "batch"]].nunique().max()
    return lambda_stars(slopes.assign(option="all") if settings == 1 else slopes)


def _law_lines(slopes: pd.DataFrame) -> list[str]:
    lines = [
        f"exponent of {FACTORS[name]}: {exponent_text(fit).replace('$', '')}"
        + (f", {fit.points} values" if fit else "")
        for name, fit in exponents(slopes).items()
    ]
    spread = constant_spread(slopes)
    if spread and spread["runs"] > 1:
        lines.append(
            f"A (1 − α) B / η: mean {spread['mean']:.4g} per epoch, standard deviation "
            f"{100 * spread['relative_sd']:.1f}%, range {spread['smallest']:.4g} to {spread['largest']:.4g}, "
            f"{spread['runs']} runs"
        )
    return lines


def _decay_lines(slopes: pd.DataFrame) -> list[str]:
    return [
        f"λ* = {mean:.3g} ± {error:.1g}, weight_decay = {2 * mean:.3g}" + ("" if option == "all" else f": {option}")
        for option, (mean, error) in _edge(slopes).items()
    ]


def _slopes_table(configurations: pd.DataFrame, rule: str) -> Table:
    rows = []
    for _, row in configurations.iterrows():
        runs = str(row["runs"]) if row["fitted"] == row["runs"] else f"{row['fitted']} of {row['runs']}"
        window = f"{row['start']:.3g}–{row['end']:.3g}" if row["fitted"] else "—"
        cells = (_cell(row["slope"], ".4g"), _cell(row["slope_error"], ".1g"), window, _cell(row["constant"], ".4g"))
        rows.append((escape(str(row["option"])) or "all", f"{runs}{' *' if row['bent'] else ''}", *cells))
    footnote = "; *: in some runs the slopes of the window's halves differ by more than half of the slope"
    headings = ("", "runs", "slope", "s.e.", "epochs", "A (1 − α) B / η")
    caption = f"means over runs; fitted over {rule}{footnote if configurations['bent'].any() else ''}"
    return number_table("Slopes of J², per epoch", headings, rows, caption=caption)


def _ends_table(configurations: pd.DataFrame) -> Table:
    digits = {"edge_epoch": ".3g", "lowest_loss": ".4f", "lowest_epoch": ".3g", "lowest_J": ".3f"}
    digits |= {"final_J": ".3f", "final_loss": ".4f"}
    rows = [
        (escape(str(row["option"])) or "all", *(_cell(row[name], form) for name, form in digits.items()))
        for _, row in configurations.iterrows()
    ]
    headings = ("", "edge epoch", "lowest loss", "epoch", "J", "final J", "final loss")
    return number_table(
        "Edge of chaos and test loss",
        headings,
        rows,
        caption="means over runs; edge epoch: when J² reaches 1; epoch and J: at the lowest test loss",
    )


def _cell(value: float, digits: str) -> str:
    return "—" if pd.isna(value) else format(value, digits)


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")
