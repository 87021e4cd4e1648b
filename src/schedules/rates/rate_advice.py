"""What the result of a range test is in summary.json, and in words: the rule, and the settings to type."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from start_training.schedules.rates.range_table import diverged_at, score_column
from start_training.schedules.rates.rate_suggestion import CYCLICAL, Suggestion


def described(suggestion: Suggestion, curves: pd.DataFrame) -> dict[str, Any]:
    """Return a suggestion and a summary of the curves of its range test as plain data, for summary.json."""
    score = score_column(curves)
    return {
        **asdict(suggestion),
        "steps": len(curves),
        "diverged_at": diverged_at(curves),
        "best_val_loss": float(curves["val_loss"].min()),
        f"best_{score}": float(curves[score].max()),
        "min_rate_tested": float(curves["learning_rate"].iloc[0]),
        "max_rate_tested": float(curves["learning_rate"].iloc[-1]),
    }


def in_short(test: Mapping[str, Any]) -> str:
    """Return `max_lr …` for a range test as given by `described`, or the reason why no rate is suggested."""
    known = test["max_lr"] is not None and math.isfinite(test["max_lr"])
    return f"max_lr {test['max_lr']:.3g}" if known else str(test["rule"])


def advice(test: Mapping[str, Any]) -> str:
    """Return lines of text: the rule of a range test as given by `described`, then the settings to type."""
    lines = [f"range test: {test['rule']}"]
    if in_short(test) != test["rule"]:
        peak = f"optimizer.lr={test['max_lr']:.3g}"
        lines += [
            f"    for one cycle, starting at {test['min_lr']:.3g}: {peak} schedule=one_cycle",
            f"    for repeated cycles, starting at {test['cyclical_min_lr']:.3g}: "
            f"{peak} schedule=triangular schedule.start={1 / CYCLICAL:.3g}",
        ]
    return "\n".join(lines)
