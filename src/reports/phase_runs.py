"""The runs of a sweep whose layers' phases were recorded: slopes, exponents and what their figures say, in words."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from start_training.analysis.collapse import GROWTH, QUANTITIES, collapse
from start_training.analysis.decay_points import edge_decays
from start_training.analysis.phase_curves import watched, with_scaling
from start_training.analysis.phase_slopes import constant_spread, exponents, phase_slopes, window_rule
from start_training.figures.collapse import spread_in_words
from start_training.figures.range_test import option_of
from start_training.figures.scaling import NAMES, exponent_in_words, what_is_missing
from start_training.reports.sweep_tables import SweepTable, tell

OF_A_FIT = ("window", "window_in", "layer")  # settings of a figure
SETTINGS = ["eta", "alpha", "batch", "weight_decay", "scaling"]
LETTERS = {**NAMES, "weight_decay": "weight_decay"}
MEANS = ["slope", "constant", "J2_at_end", "edge_epoch", "lowest_epoch", "lowest_J", "lowest_loss"]
MEANS += ["final_J", "final_loss", "final_accuracy"]


class PhaseRuns(SweepTable):
    """What the figures of phases draw, and what they say: slopes and their exponents, the spread of curves, λ*."""

    kind = "phase"
    name = "phases"
    holds = "a layer's phase behind it, which callbacks=phase records"

    def slopes(self, node: Mapping[str, Any]) -> pd.DataFrame:
        """A row for each run, as `phase_slopes` has it of the figure's window and layer; option: its settings."""
        drawn = self.drawn.assign(option=_options(self.drawn))
        return phase_slopes(drawn, **{key: node[key] for key in OF_A_FIT if key in node})

    def tables(self, node: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
        return {**super().tables(node), "slopes": by_configuration(self.slopes(node))}

    def show(self, node: Mapping[str, Any]) -> None:
        """Beside that, tables of slopes and losses, the exponents and constant, the spread of curves, λ*, no slopes."""
        super().show(node)
        slopes, console = self.slopes(node), Console()
        found = by_configuration(slopes)
        console.print(_slopes_table(found, _rule(node)))
        console.print(_ends_table(found))
        for line in [*_law_in_words(slopes), *self._spread_in_words(node), *_decays_in_words(slopes)]:
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        tell(console, "no slope", what_is_missing(slopes))

    def answer(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Window; configurations, as `by_configuration`; exponents; constant; no_slope; collapse; edge_decay.

        collapse is there for the figure of that name only.
        """
        slopes = self.slopes(node)
        spreads = self._spreads(node)
        return {
            "window": _rule(node),
            "configurations": _records(by_configuration(slopes)),
            "exponents": {name: vars(found) if found else None for name, found in exponents(slopes).items()},
            "constant": constant_spread(slopes),
            "no_slope": [
                {"run": row["directory"], "option": row["option"], "reason": row["reason"]}
                for _, row in slopes[slopes["slope"].isna()].iterrows()
            ],
            **({} if spreads is None else {"collapse": _records(spreads)}),
            "edge_decay": {
                option: {"lambda": mean, "error": error, "weight_decay": 2 * mean}
                for option, (mean, error) in _edge(slopes).items()
            },
        }

    def _spreads(self, node: Mapping[str, Any]) -> pd.DataFrame | None:
        """Of the figure that is about them."""
        if not str(node["_target_"]).endswith(".draw_collapse"):
            return None
        return collapse(with_scaling(watched(self.drawn, node.get("layer"))))

    def _spread_in_words(self, node: Mapping[str, Any]) -> list[str]:
        if (spreads := self._spreads(node)) is None:
            return []
        names = {**dict.fromkeys(QUANTITIES), GROWTH: "growth of J²"} | {"J2": "J²"}
        said = [(name or quantity, spread_in_words(spreads, quantity)) for quantity, name in names.items()]
        return [f"spread of {name}: {words}" for name, words in said if words]


def _options(drawn: pd.DataFrame) -> "pd.Series[str]":
    """What varies, by the letters of the law where they tell all configurations apart."""
    varied = [name for name in LETTERS if drawn[name].nunique() > 1]
    words = [drawn[name].map(f"{LETTERS[name]} {{:g}}".format) for name in varied]
    short = pd.Series([", ".join(each) for each in zip(*words, strict=True)], index=drawn.index) if words else None
    apart = short is not None and short.nunique() == drawn["configuration"].nunique()
    return short if apart and short is not None else option_of(drawn, None)


def by_configuration(slopes: pd.DataFrame) -> pd.DataFrame:
    """A row for each configuration: option, and the settings of the law.

    runs; fitted: those that have a slope; bent: those whose slope is not linear. start, end: mean window in epochs.
    Of the quantities `MEANS` mean, and X_error, the standard error over runs.
    """
    slopes = slopes.assign(final_J=slopes["final_J2"] ** 0.5, bent=slopes["slope"].notna() & ~slopes["linear"])
    groups = slopes.groupby("configuration", sort=False)
    sizes = groups.agg(runs=("slope", "size"), fitted=("slope", "count"), bent=("bent", "sum"))
    facts = groups[["option", *SETTINGS]].first()
    means = groups[["start", "end", *MEANS]].mean()
    errors = groups[MEANS].sem().add_suffix("_error")
    both = means.join(errors)[["start", "end", *(f"{name}{end}" for name in MEANS for end in ("", "_error"))]]
    return facts.join(sizes).join(both).reset_index(drop=True)


def _edge(slopes: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """λ* where a sweep varies the weight decay, of all its runs without."""
    if slopes["weight_decay"].nunique() < 2:
        return {}
    settings = slopes[["eta", "alpha", "batch"]].nunique().max()
    return edge_decays(slopes.assign(option="all") if settings == 1 else slopes)


def _rule(node: Mapping[str, Any]) -> str:
    return window_rule(**{key: node[key] for key in OF_A_FIT[:2] if key in node})


def _law_in_words(slopes: pd.DataFrame) -> list[str]:
    lines = [
        f"exponent of {'1/(1 − α)' if name == 'alpha' else '1/B' if name == 'batch' else NAMES[name]}: "
        f"{exponent_in_words(found).replace('$', '')}{'' if found is None else f', {found.points} values'}"
        for name, found in exponents(slopes).items()
    ]
    spread = constant_spread(slopes)
    if spread and spread["runs"] > 1:
        lines.append(
            f"A (1 − α) B / η: {spread['mean']:.4g} per epoch, sd {100 * spread['relative_sd']:.1f}%, "
            f"from {spread['smallest']:.4g} to {spread['largest']:.4g}, {spread['runs']} runs"
        )
    return lines


def _decays_in_words(slopes: pd.DataFrame) -> list[str]:
    return [
        f"λ* = {mean:.3g} ± {error:.1g}, weight_decay {2 * mean:.3g}" + ("" if option == "all" else f": {option}")
        for option, (mean, error) in _edge(slopes).items()
    ]


def _slopes_table(found: pd.DataFrame, rule: str) -> Table:
    shown = _empty_table("Slopes of J², per epoch", "runs", "slope", "s.e.", "epochs", "A (1 − α) B / η")
    for _, row in found.iterrows():
        runs = str(row["runs"]) if row["fitted"] == row["runs"] else f"{row['fitted']} of {row['runs']}"
        window = f"{row['start']:.3g}–{row['end']:.3g}" if row["fitted"] else "—"
        cells = [_cell(row["slope"], ".4g"), _cell(row["slope_error"], ".1g"), window, _cell(row["constant"], ".4g")]
        shown.add_row(escape(str(row["option"])) or "all", f"{runs}{' *' if row['bent'] else ''}", *cells)
    bent = "; *: in some, the window's halves differ by more than half of it" if found["bent"].any() else ""
    shown.caption = f"means over runs; fitted over {rule}{bent}"
    return shown


def _ends_table(found: pd.DataFrame) -> Table:
    shown = _empty_table(
        "Edge of chaos and test loss", "J² = 1 in", "lowest loss", "in", "at J", "final J", "final loss"
    )
    names = {"edge_epoch": ".3g", "lowest_loss": ".4f", "lowest_epoch": ".3g", "lowest_J": ".3f"}
    names |= {"final_J": ".3f", "final_loss": ".4f"}
    for _, row in found.iterrows():
        cells = (_cell(row[name], digits) for name, digits in names.items())
        shown.add_row(escape(str(row["option"])) or "all", *cells)
    shown.caption = "means over runs; in: epochs"
    return shown


def _empty_table(title: str, *headings: str) -> Table:
    shown = Table("", title=title, title_justify="left")
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    return shown


def _cell(value: float, digits: str) -> str:
    return "—" if pd.isna(value) else format(value, digits)


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")
