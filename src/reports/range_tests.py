"""The range tests of a sweep: their curves, and what they suggest, in a table and in words."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from start_training.analysis.suggestions import largest_rate, lowest_loss, not_told_apart, suggestions
from start_training.config.errors import typed
from start_training.figures.range_test import option_of, setting_of
from start_training.reports.sweep_tables import SweepTable, short_names, tell

NAMED = 4  # settings that are named one by one
# What a range test is told that a training run is not.
_OF_THE_TEST = ("seed", "callbacks", "experiment", "size", "figure", "script", "logger", "schedule", "ckpt_path")


class RangeTests(SweepTable):
    """What `start_training.figures.range_test` draws, and what of it is a suggestion."""

    kind = "range_test"
    holds = "a range test behind it, which callbacks=range_test makes"

    def by(self, node: Mapping[str, Any]) -> str | None:
        """The column that tells configurations apart: the figure's `by`, unless it puts several of them together."""
        by = node.get("by")
        together = by is not None and self.drawn.groupby(option_of(self.drawn, by))["configuration"].nunique().max() > 1
        return None if together else by

    def suggested(self, node: Mapping[str, Any]) -> pd.DataFrame:
        """A row for each configuration, its setting as `option`."""
        return suggestions(self.drawn.assign(option=option_of(self.drawn, self.by(node))), by="option")

    def tables(self, node: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
        return {**super().tables(node), "suggestions": self.suggested(node)}

    def show(self, node: Mapping[str, Any]) -> None:
        """Beside that, a table of suggestions, which settings are best, the rule, and what to run next."""
        super().show(node)
        found, console = self.suggested(node), Console()
        if found.empty:
            console.print("no range test has ended yet")
            return
        setting = (setting_of(self.drawn, self.by(node)) or "").rpartition(".")[2]
        console.print(_rates_table(found, setting))
        console.print(_validation_table(found, setting))
        tell(console, "rule", self.rules())
        for line in _words(found, setting):
            console.print(line, soft_wrap=True, highlight=False, markup=False)

    def answer(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Suggestions by configuration, the largest rate, the lowest loss, the rules, and the command to go on with."""
        found = self.suggested(node)
        if found.empty:
            return {"configurations": []}
        rows = found.astype(object).where(found.notna(), None).to_dict("records")
        largest, lowest = largest_rate(found), lowest_loss(found)
        return {
            "configurations": [{**row, "command": next_command(row)} for row in rows],
            "largest_rate": {"option": rows[largest]["option"], "like": _named(found, largest, "max_lr")},
            "lowest_loss": {"option": rows[lowest]["option"], "like": _named(found, lowest, "val_loss")},
            "rules": self.rules(),
            "command": next_command(rows[lowest]),
        }

    def rules(self) -> list[str]:
        """What each test says in its own words, beginning with those that went wrong or not far enough."""
        if "rule" not in self.drawn:
            return []
        tests = self.drawn.dropna(subset="rule").groupby("directory", sort=False).first()
        tests = tests.sort_values("turned", key=lambda turned: turned.astype(bool), kind="stable")
        return [f"{name}: {rule}" for name, rule in zip(short_names(tests["name"]), tests["rule"], strict=True)]


def next_command(row: Mapping[Any, Any]) -> str | None:
    """What trains a configuration in one cycle up to its rate, as one types it; None where no rate is known.

    Of an experiment of range tests, which is not one of training, the settings alone.
    """
    if pd.isna(row["max_lr"]):
        return None
    overrides = str(row["overrides"]).split(" ")
    groups = {each: re.split("[./=]", each.lstrip("+~"))[0] for each in overrides if each}
    kept = [each for each, group in groups.items() if group not in _OF_THE_TEST and "optimizer.lr=" not in each]
    words = shlex.join([*kept, f"optimizer.lr={row['max_lr']:.2g}", "schedule=one_cycle"])
    return words if "experiment" in groups.values() else f"{typed('train')} {words}"


def _words(found: pd.DataFrame, setting: str) -> list[str]:
    lowest = lowest_loss(found)
    best = _best(found, lowest, setting) if len(found) > 1 else []
    command = next_command(found.iloc[lowest].to_dict())
    return [*best, *([] if command is None else [f"next: {command}"])]


def _best(found: pd.DataFrame, lowest: int, setting: str) -> list[str]:
    largest = largest_rate(found)
    rates, losses = (f"{setting} {found['option'][row]}".strip() for row in (largest, lowest))
    if not found["usable"].any():
        return []
    return [
        f"largest rate: {rates}, max_lr {found['max_lr'][largest]:.2g}, best accuracy "
        f"{found['val_accuracy'][largest]:.1%}{_like(found, largest, 'max_lr')}",
        f"lowest validation loss: {losses}, {found['val_loss'][lowest]:.3g}{_like(found, lowest, 'val_loss')}",
    ]


def _named(found: pd.DataFrame, row: int, name: str) -> list[str]:
    return [str(found["option"].iloc[other]) for other in not_told_apart(found, row, name)]


def _like(found: pd.DataFrame, row: int, name: str) -> str:
    if not (others := _named(found, row, name)):
        return ""
    if found["tests"].iloc[row] < 2:
        return " (one seed tells nothing apart)"
    named = "; ".join(others) if len(others) <= NAMED else f"{len(others)} others"
    return f" (over seeds its range meets that of {named})"


def _rates_table(found: pd.DataFrame, setting: str) -> Table:
    headings = ("tests", "max_lr", "range", "octaves", "min_lr", "for cycles")
    shown = _empty_table("Suggested learning rates", setting, *headings)
    for _, row in found.iterrows():
        tests = str(row["tests"]) if row["usable"] == row["tests"] else f"{row['usable']} of {row['tests']}"
        largest = f"{'≥ ' if row['turned'] < row['usable'] else ''}{row['max_lr']:.2g}"
        rates = [largest, f"{row['max_lr_low']:.2g}–{row['max_lr_high']:.2g}", f"{row['octaves']:.2f}"]
        rates += [f"{row[name]:.2g}" for name in ("min_lr", "cyclical_min_lr")]
        shown.add_row(escape(str(row["option"])) or "all", tests, *(rates if row["usable"] else ["—"] * len(rates)))
    shown.caption = "max_lr: median over seeds"
    return shown


def _validation_table(found: pd.DataFrame, setting: str) -> Table:
    shown = _empty_table("On validation data", setting, "lowest loss", "at", "best accuracy", "at", "diverged")
    for _, row in found.iterrows():
        loss, accuracy = f"{row['val_loss']:.3g}", f"{row['val_accuracy']:.1%}"
        rates = (f"{row[f'{name}_rate']:.2g}" for name in ("val_loss", "val_accuracy"))
        cells = (loss, next(rates), accuracy, next(rates), f"{row['diverged']} of {row['tests']}")
        shown.add_row(escape(str(row["option"])) or "all", *cells)
    shown.caption = "means over seeds, and the median rate there"
    return shown


def _empty_table(title: str, setting: str, *headings: str) -> Table:
    shown = Table(setting, title=title, title_justify="left")
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    return shown
