"""Report about the learning rate range tests of a sweep: suggested rates, best configurations, and the next command."""

import re
import shlex
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from start_training.analysis.suggestions import best_score, indistinguishable, largest_rate, lowest_loss, suggestions
from start_training.config.errors import shell_command
from start_training.figures.labels import option_of, setting_of
from start_training.reports.sweep_tables import SweepTable, number_table, print_first, short_names
from start_training.reports.terminal import print_lines, print_table, print_whole
from start_training.tasks.merit import label_of, text_of

NAMED = 4  # largest number of configurations that are listed by name
# Groups of overrides of a range test that are not repeated in the command of a training run.
_OF_THE_TEST = ("seed", "callbacks", "experiment", "size", "figure", "script", "logger", "schedule", "ckpt_path")


class RangeTests(SweepTable):
    """Table with a row for each step of a range test, for `start_training.figures.range_test`."""

    kind = "range_test"
    needed = "made a range test; train with callbacks=range_test"

    @cached_property
    def by(self) -> str | None:
        """Column that the figure's setting `by` names; None if two configurations have the same value in it."""
        by = self.node.get("by")
        if by is None or self.drawn.groupby(option_of(self.drawn, by))["configuration"].nunique().max() > 1:
            return None
        return str(by)

    @cached_property
    def suggested(self) -> pd.DataFrame:
        """Result of `suggestions`, with the varied settings of each configuration as option."""
        return suggestions(self.drawn.assign(option=option_of(self.drawn, self.by)), by="option")

    def tables(self) -> dict[str, pd.DataFrame]:
        return {**super().tables(), "suggestions": self.suggested}

    def show(self) -> None:
        """Print missing runs, the suggested rates, the rules behind them, the best settings, and the next command."""
        super().show()
        if self.suggested.empty:
            print_lines("no range test has finished yet")
            return
        setting = (setting_of(self.drawn, self.by) or "").rpartition(".")[2]
        print_table(_rates_table(self.suggested, setting))
        print_table(_validation_table(self.suggested, setting))
        print_first("rule", self.rules())
        print_lines(*_best(self.suggested, setting))
        if command := next_command(self.suggested.iloc[lowest_loss(self.suggested)].to_dict()):
            print_whole(f"next: {command}")

    def answer(self) -> dict[str, Any]:
        """Return the results for the JSON file.

        Returns:
            configurations: Rows of `suggestions`, each with the command that trains it; largest_rate, lowest_loss: the
            option that has it, and under `like` the options that overlap with it over seeds; rules: see `rules`;
            command: the command that trains the option with the lowest loss.
        """
        if self.suggested.empty:
            return {"configurations": []}
        rows = self.suggested.astype(object).where(self.suggested.notna(), None).to_dict("records")
        largest, lowest = largest_rate(self.suggested), lowest_loss(self.suggested)
        return {
            "configurations": [{**row, "command": next_command(row)} for row in rows],
            "largest_rate": {"option": rows[largest]["option"], "like": _alike(self.suggested, largest, "max_lr")},
            "lowest_loss": {"option": rows[lowest]["option"], "like": _alike(self.suggested, lowest, "val_loss")},
            "rules": self.rules(),
            "command": next_command(rows[lowest]),
        }

    def rules(self) -> list[str]:
        """Return the rule by which each test chose its rate; tests whose validation loss did not rise come first."""
        if "rule" not in self.drawn:
            return []
        tests = self.drawn.dropna(subset="rule").groupby("directory", sort=False).first()
        tests = tests.sort_values("turned", key=lambda turned: turned.astype(bool), kind="stable")
        return [f"{name}: {rule}" for name, rule in zip(short_names(tests["name"]), tests["rule"], strict=True)]


def next_command(row: Mapping[Any, Any]) -> str | None:
    """Return the command that trains a configuration with the schedule one_cycle up to its suggested rate.

    Args:
        row: A row of `suggestions`.

    Returns:
        The command, quoted for the shell; only its overrides if the range tests belong to an experiment, which cannot
        be used for training; None if no rate is suggested.
    """
    if pd.isna(row["max_lr"]):
        return None
    groups = {word: re.split("[./=]", word.lstrip("+~"))[0] for word in str(row["overrides"]).split(" ") if word}
    settings = [word for word, group in groups.items() if group not in _OF_THE_TEST and "optimizer.lr=" not in word]
    words = shlex.join([*settings, f"optimizer.lr={row['max_lr']:.2g}", "schedule=one_cycle"])
    return words if "experiment" in groups.values() else f"{shell_command('train')} {words}"


def _best(tests: pd.DataFrame, setting: str) -> list[str]:
    """Describe the configurations with the largest rate and the lowest loss, and those that overlap with them."""
    if len(tests) < 2 or tests["max_lr"].isna().all():
        return []
    largest, lowest, score = largest_rate(tests), lowest_loss(tests), best_score(tests)
    rates, losses = (f"{setting} {tests['option'][row]}".strip() for row in (largest, lowest))
    return [
        f"largest rate: {rates}, max_lr {tests['max_lr'][largest]:.2g}, highest validation {_label(score)} "
        f"{_text(score, tests[score][largest])}{_alike_text(tests, largest, 'max_lr')}",
        f"lowest validation loss: {losses}, loss {tests['val_loss'][lowest]:.3g}"
        f"{_alike_text(tests, lowest, 'val_loss')}",
    ]


def _alike(tests: pd.DataFrame, row: int, name: str) -> list[str]:
    return [str(tests["option"].iloc[other]) for other in indistinguishable(tests, row, name)]


def _alike_text(tests: pd.DataFrame, row: int, name: str) -> str:
    if not (others := _alike(tests, row, name)):
        return ""
    if tests["tests"].iloc[row] < 2:
        return " (a single seed cannot distinguish configurations)"
    named = "; ".join(others) if len(others) <= NAMED else f"{len(others)} other configurations"
    return f" (its range over seeds overlaps with that of {named})"


def _rates_table(tests: pd.DataFrame, setting: str) -> Table:
    rows = []
    for _, row in tests.iterrows():
        count = str(row["tests"]) if row["usable"] == row["tests"] else f"{row['usable']} of {row['tests']}"
        largest = f"{'≥ ' if row['turned'] < row['usable'] else ''}{row['max_lr']:.2g}"
        rates = [largest, f"{row['max_lr_low']:.2g}–{row['max_lr_high']:.2g}", f"{row['octaves']:.2f}"]
        rates += [f"{row[name]:.2g}" for name in ("min_lr", "cyclical_min_lr")]
        rows.append(
            (escape(str(row["option"])) or "all", count, *(rates if pd.notna(row["max_lr"]) else ["—"] * len(rates)))
        )
    headings = (setting, "tests", "max_lr", "range", "octaves", "min_lr", "cyclic min")
    return number_table(
        "Suggested learning rates",
        headings,
        rows,
        caption="medians over seeds; ≥: in some tests the validation loss did not rise; octaves: log2 of the range; "
        "cyclic min: min_lr for repeated cycles; —: fewer than half of the tests suggest a rate",
    )


def _label(score: str) -> str:
    return label_of(score.removeprefix("val_"))


def _text(score: str, value: float) -> str:
    return text_of(score.removeprefix("val_"), value)


def _validation_table(tests: pd.DataFrame, setting: str) -> Table:
    score = best_score(tests)
    rows = [
        (
            escape(str(row["option"])) or "all",
            f"{row['val_loss']:.3g}",
            f"{row['val_loss_rate']:.2g}",
            _text(score, row[score]),
            f"{row[f'{score}_rate']:.2g}",
            f"{row['diverged']} of {row['tests']}",
        )
        for _, row in tests.iterrows()
    ]
    headings = (setting, "lowest loss", "at rate", _label(score), "at rate", "diverged")
    return number_table(
        f"Validation loss and {_label(score)} in range tests",
        headings,
        rows,
        caption=f"lowest loss and highest {_label(score)}: means over seeds; rates: medians over seeds",
    )
