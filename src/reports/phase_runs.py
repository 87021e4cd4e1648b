"""The runs of a sweep whose layers' phases were recorded: slopes, exponents and what their figures say, in words."""

from functools import cached_property
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from start_training.analysis.collapse import GROWTH, QUANTITIES, collapse
from start_training.analysis.decay_points import edge_decays
from start_training.analysis.phase_curves import watched, with_scaling
from start_training.analysis.phase_slopes import constant_spread, exponents, phase_slopes, window_rule
from start_training.figures.collapse import spread_text
from start_training.figures.labels import option_of
from start_training.figures.scaling import NAMES, exponent_text, missing_slopes
from start_training.reports.sweep_tables import SweepTable, number_table, print_first, print_lines

SETTINGS = ["eta", "alpha", "batch", "weight_decay", "scaling"]
LETTERS = {**NAMES, "weight_decay": "weight_decay"}
FACTORS = {"eta": "η", "alpha": "1/(1 − α)", "batch": "1/B"}  # of the scaling variable
MEANS = ["slope", "constant", "J2_at_end", "edge_epoch", "lowest_epoch", "lowest_J", "lowest_loss"]
MEANS += ["final_J", "final_loss", "final_accuracy"]
SPREADS = {**{name: name for name in QUANTITIES}, "J2": "J²", GROWTH: "growth of J²"}  # what lines of them begin with


class PhaseRuns(SweepTable):
    """The phases of layers, and slopes and their exponents, the spread of curves and λ*: for the figures of phases."""

    kind = "phase"
    name = "phases"
    needed = "a layer's phase behind it, which callbacks=phase records"

    @cached_property
    def slopes(self) -> pd.DataFrame:
        """`phase_slopes` over the figure's window and layer, a row for each run; option: its settings."""
        settings = {key: self.node[key] for key in ("window", "window_in", "layer") if key in self.node}
        return phase_slopes(self.drawn.assign(option=_options(self.drawn)), **settings)

    @cached_property
    def spreads(self) -> pd.DataFrame | None:
        """`collapse` of the curves, for the figure of that name; None for any other."""
        if not str(self.node["_target_"]).endswith(".draw_collapse"):
            return None
        return collapse(with_scaling(watched(self.drawn, self.node.get("layer"))))

    @property
    def rule(self) -> str:
        """The window in words."""
        return window_rule(**{key: self.node[key] for key in ("window", "window_in") if key in self.node})

    def tables(self) -> dict[str, pd.DataFrame]:
        return {**super().tables(), "slopes": by_configuration(self.slopes)}

    def show(self) -> None:
        """Print, too, slopes and losses, exponents and constant, the spread of curves, λ*, and missing slopes."""
        super().show()
        configurations = by_configuration(self.slopes)
        Console().print(_slopes_table(configurations, self.rule))
        Console().print(_ends_table(configurations))
        print_lines([*_law_lines(self.slopes), *self._spread_lines(), *_decay_lines(self.slopes)])
        print_first("no slope", missing_slopes(self.slopes))

    def answer(self) -> dict[str, Any]:
        """Window; configurations, as `by_configuration`; exponents; constant; no_slope; collapse; edge_decay.

        collapse is there for the figure of that name only.
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

    def _spread_lines(self) -> list[str]:
        if self.spreads is None:
            return []
        texts = [(name, spread_text(self.spreads, quantity)) for quantity, name in SPREADS.items()]
        return [f"spread of {name}: {text}" for name, text in texts if text]


def _options(drawn: pd.DataFrame) -> "pd.Series[str]":
    """What varies, by the letters of the law where they tell all configurations apart."""
    varied = [name for name in LETTERS if drawn[name].nunique() > 1]
    if varied:
        words = [drawn[name].map(f"{LETTERS[name]} {{:g}}".format) for name in varied]
        short = pd.Series([", ".join(parts) for parts in zip(*words, strict=True)], index=drawn.index)
        if short.nunique() == drawn["configuration"].nunique():
            return short
    return option_of(drawn, None)


def by_configuration(slopes: pd.DataFrame) -> pd.DataFrame:
    """A row for each configuration of `phase_slopes`.

    Returns:
        Columns option and `SETTINGS`; runs; fitted, how many of them have a slope; bent, whose slope is not linear;
        start and end, the mean window in epochs; of the quantities `MEANS` mean, and X_error, the standard error over
        runs.
    """
    groups = slopes.assign(final_J=slopes["final_J2"] ** 0.5).groupby("configuration", sort=False)
    sizes = groups.agg(runs=("slope", "size"), fitted=("slope", "count"), bent=("bent", "sum"))
    means = groups[["start", "end", *MEANS]].mean().join(groups[MEANS].sem().add_suffix("_error"))
    columns = ["start", "end", *(f"{name}{end}" for name in MEANS for end in ("", "_error"))]
    return groups[["option", *SETTINGS]].first().join(sizes).join(means[columns]).reset_index(drop=True)


def _edge(slopes: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """λ* where a sweep varies the weight decay, of all its runs without."""
    if slopes["weight_decay"].nunique() < 2:
        return {}
    settings = slopes[["eta", "alpha", "batch"]].nunique().max()
    return edge_decays(slopes.assign(option="all") if settings == 1 else slopes)


def _law_lines(slopes: pd.DataFrame) -> list[str]:
    lines = [
        f"exponent of {FACTORS[name]}: {exponent_text(fit).replace('$', '')}"
        + (f", {fit.points} values" if fit else "")
        for name, fit in exponents(slopes).items()
    ]
    spread = constant_spread(slopes)
    if spread and spread["runs"] > 1:
        lines.append(
            f"A (1 − α) B / η: {spread['mean']:.4g} per epoch, sd {100 * spread['relative_sd']:.1f}%, "
            f"from {spread['smallest']:.4g} to {spread['largest']:.4g}, {spread['runs']} runs"
        )
    return lines


def _decay_lines(slopes: pd.DataFrame) -> list[str]:
    return [
        f"λ* = {mean:.3g} ± {error:.1g}, weight_decay {2 * mean:.3g}" + ("" if option == "all" else f": {option}")
        for option, (mean, error) in _edge(slopes).items()
    ]


def _slopes_table(configurations: pd.DataFrame, rule: str) -> Table:
    rows = []
    for _, row in configurations.iterrows():
        runs = str(row["runs"]) if row["fitted"] == row["runs"] else f"{row['fitted']} of {row['runs']}"
        window = f"{row['start']:.3g}–{row['end']:.3g}" if row["fitted"] else "—"
        cells = (_cell(row["slope"], ".4g"), _cell(row["slope_error"], ".1g"), window, _cell(row["constant"], ".4g"))
        rows.append((escape(str(row["option"])) or "all", f"{runs}{' *' if row['bent'] else ''}", *cells))
    bent = "; *: in some, the window's halves differ by more than half of it" if configurations["bent"].any() else ""
    headings = ("", "runs", "slope", "s.e.", "epochs", "A (1 − α) B / η")
    caption = f"means over runs; fitted over {rule}{bent}"
    return number_table("Slopes of J², per epoch", headings, rows, caption=caption)


def _ends_table(configurations: pd.DataFrame) -> Table:
    digits = {"edge_epoch": ".3g", "lowest_loss": ".4f", "lowest_epoch": ".3g", "lowest_J": ".3f"}
    digits |= {"final_J": ".3f", "final_loss": ".4f"}
    rows = [
        (escape(str(row["option"])) or "all", *(_cell(row[name], form) for name, form in digits.items()))
        for _, row in configurations.iterrows()
    ]
    headings = ("", "J² = 1 in", "lowest loss", "in", "at J", "final J", "final loss")
    return number_table("Edge of chaos and test loss", headings, rows, caption="means over runs; in: epochs")


def _cell(value: float, digits: str) -> str:
    return "—" if pd.isna(value) else format(value, digits)


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")
