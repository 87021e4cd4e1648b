"""What the rows of the benchmark `recipe` say: means, ranks, wins, losses, and whether its goals are met."""

from typing import Any

import numpy as np
import pandas as pd

from benchmarks._harness import met
from benchmarks.recipe_parts.contenders import ADAMW_COSINE, RECIPES

LEAST_WITHIN, LARGEST_OVERHEAD, MOST_FALLBACKS = 0.8, 0.2, 0.2  # shares: of tasks, of the time of the epochs, of tasks


def means_of(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return mean and standard error of the score in percent: a row per contender, a column per task.

    A score that is missing or below 0 counts as 0. A contender without a row for a task is left out of it (NaN).
    """
    scores = (100 * table["score"].astype(float).fillna(0)).clip(lower=0)
    groups = table.assign(score=scores).groupby(["contender", "task"], sort=False)["score"]
    means, errors = groups.mean().unstack(sort=False), groups.sem().unstack(sort=False)
    return means, errors


def summary_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return "mean ± standard error" as text, a row per contender and a column per task."""
    means, errors = means_of(table)
    cells = {task: [f"{mean:.1f}" if np.isnan(error) else f"{mean:.1f} ± {error:.1f}"
                    for mean, error in zip(means[task], errors[task], strict=True)] for task in means}  # fmt: skip
    return pd.DataFrame(cells, index=means.index)


def within(table: pd.DataFrame) -> pd.DataFrame:
    """Return whether a contender's mean is the best of a task, or within one standard error of it.

    The standard error is that of the difference of both means.
    """
    means, errors = means_of(table)
    best = np.take_along_axis(errors.fillna(0).to_numpy(), means.to_numpy().argmax(0)[None], 0)
    return means >= means.max() - np.hypot(errors.fillna(0), best)


def ranks(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row per contender, by mean rank over the tasks: rank, wins and losses by more than a standard error."""
    means, _ = means_of(table)
    rank, near = means.rank(ascending=False), within(table).to_numpy()
    times = table.groupby(["contender", "task"])[["cpu", "wall"]].mean()
    rows = []
    for number, name in enumerate(means.index):
        pairs = [compared(table, str(name), str(other)) for other in means.index if other != name]
        base = times.loc[ADAMW_COSINE]["cpu"] if ADAMW_COSINE in means.index else np.nan
        overhead = float((times.loc[name]["cpu"] / base - 1).mean())
        rows.append({
            "contender": name, "rank": rank.loc[name].mean(), "within": int(near[number].sum()),
            "tasks": means.shape[1], "wins": sum(wins for wins, _ in pairs), "losses": sum(lost for _, lost in pairs),
            "cpu": times.loc[name]["cpu"].mean(), "wall": times.loc[name]["wall"].mean(), "overhead": overhead,
            "diverged": int((table[table["contender"] == name]["score"].isna()).sum()),
        })  # fmt: skip
    return sorted(rows, key=lambda row: row["rank"])


def compared(table: pd.DataFrame, name: str, other: str) -> tuple[int, int]:
    """Return on how many tasks a contender is better and worse than another, by more than a standard error."""
    means, errors = means_of(table)
    difference = (means.loc[name] - means.loc[other]).to_numpy(dtype=float)
    error = np.asarray(np.hypot(errors.loc[name].fillna(0), errors.loc[other].fillna(0)), dtype=float)
    sigmas = difference / np.maximum(error, 1e-9)
    return int(np.sum(sigmas > 1)), int(np.sum(sigmas < -1))


def against(table: pd.DataFrame, name: str) -> list[str]:
    """Return a line per contender: wins and losses of `name` against it."""
    means, _ = means_of(table)
    if name not in means.index:
        return []
    pairs = {str(other): compared(table, name, str(other)) for other in means.index if other != name}
    return [f"{name} against " + ", ".join(f"{other}: {wins}–{lost}" for other, (wins, lost) in pairs.items())]


def goals(table: pd.DataFrame, name: str, base: str) -> list[str]:
    """Return a line per goal of the issue: the measured number, and whether the goal is met."""
    rows = {row["contender"]: row for row in ranks(table)} if base in set(table["contender"]) else {}
    if name not in rows:
        return []
    means, errors = means_of(table)
    row, tasks, mine = rows[name], means.shape[1], table[table["contender"] == name]
    others = [other["rank"] for other in rows.values() if other["contender"] not in RECIPES]
    rows_of = {contender: number for number, contender in enumerate(means.index)}
    limits = means.to_numpy()[rows_of[base]] - errors.fillna(0).to_numpy()[rows_of[base]]
    is_below = means.to_numpy()[rows_of[name]] < limits
    below = [str(task) for task, lost in zip(means, is_below, strict=True) if lost]
    fallbacks = {run["task"] for _, run in mine.iterrows() if _fallbacks(run.get("chosen"))}
    [without] = [one for one in ranks(table[table["contender"] != _twin(name)]) if one["contender"] == name]
    alone = f"{without['within']} of {tasks}: {met(without['within'] >= LEAST_WITHIN * tasks)}"
    report = mine["seconds_of_report"].mean() if "seconds_of_report" in mine else 0.0
    return [
        f"{name}: mean rank {row['rank']:.2f}, first: {met(row['rank'] <= min(others, default=np.inf))}",
        f"  within one standard error of the best on {row['within']} of {tasks}: "
        f"{met(row['within'] >= LEAST_WITHIN * tasks)}; of the best of the others, without {_twin(name)}: {alone}",
        f"  below {base} by more than its standard error on {', '.join(below) or 'none'}: {met(not below)}",
        f"  overhead {row['overhead']:.0%}; {_without(table, name, base):.0%} without report and figure, which take "
        f"{report:.1f} s: {met(_without(table, name, base) < LARGEST_OVERHEAD)}",
        f"  a fallback decided on {sorted(fallbacks) or 'no task'}: {met(len(fallbacks) <= MOST_FALLBACKS * tasks)}",
    ]


def _twin(name: str) -> str:
    """Return the recipe with the other optimizer."""
    return next(other for other in RECIPES if other != name)


def _without(table: pd.DataFrame, name: str, base: str) -> float:
    """Return the mean overhead over tasks without the time of report and figure, which does not grow with the runs."""
    report = table["seconds_of_report"].fillna(0) if "seconds_of_report" in table else 0.0
    times = table.assign(cpu=table["cpu"] - report).groupby(["contender", "task"])["cpu"].mean()
    return float((times.loc[name] / times.loc[base] - 1).mean())


def _fallbacks(chosen: Any) -> bool:
    return isinstance(chosen, dict) and bool(chosen.get("fallbacks"))
