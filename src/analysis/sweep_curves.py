"""The curves of a sweep as one long table: rows of every run's range test, of its epochs, or of its layers' phases."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from start_training.analysis.sweep_table import override_settings, sweep_table
from start_training.runs.directory import RunDirectory
from start_training.runs.metrics_file import NAME as METRICS
from start_training.runs.metrics_file import read_metrics
from start_training.runs.sweep_jobs import read_jobs
from start_training.settings import one_of

RANGE_TEST, PHASE = "range_test", "phase"  # tables in a run directory, and what the summary calls their results
GROWTH, LENGTHS = "growth", "lengths"
TESTED = ["test/loss", "test/accuracy"]


def sweep_curves(directory: Path, kind: str) -> pd.DataFrame:
    """The rows of each run's `range_test/` (kind range_test), `metrics.csv` (epochs) or `phase/`, one below the other.

    Kind growth: those of `phase/` at whose step `lengths/` has rows too, of nets in which an activation was measured
    after every layer but the readout.

    Before them, the same in every row of a run: directory, name, status and seed; each setting that was overridden;
    varied: those settings, as text, that tell its configuration from others of the sweep, the seed aside;
    configuration: hash of all but the seed; depth. After them, of a range test, what the run's summary says of it:
    max_lr, min_lr, rule, …, missing where it has not ended. Of phases: layer_name, the table's `name`; test/loss and
    test/accuracy of the epoch that ends there; eta, alpha, batch (all that goes into one step) and weight_decay of the
    run's config, NaN where it has none; and what the summary says, as final_J, final_slope, …, lowest_test_loss, ….
    Of growth: the net's activation; length_before and length, mean M of the layer's input and of the activation after
    it; final_accuracy, of the last test.
    A run without rows is left out: what became of it `sweep_table` says. Empty where no run has any.
    Raises ValueError for another kind, and for a directory that holds no sweep.
    """
    read = _READ[one_of("kind", kind, _READ)]
    runs = sweep_table(directory)
    listed = {job.directory: job.overrides for job in read_jobs(directory)}
    names = runs["directory"]
    overrides = {name: listed.get(name) or _summary(directory / name).get("overrides", ()) for name in names}
    settings = list(dict.fromkeys(key for each in overrides.values() for key in override_settings(each)))
    facts = ["directory", "name", "status", "seed", *settings, "varied", "configuration", "depth"]
    runs["varied"] = [_varied(overrides, name) for name in names]
    runs = runs[[fact for fact in dict.fromkeys(facts) if fact in runs]]
    tables = [_with_facts(rows, run) for _, run in runs.iterrows() if len(rows := read(directory / run["directory"]))]
    return pd.concat(tables, ignore_index=True).astype(_kinds(runs)) if tables else runs[:0]


def _varied(overrides: Mapping[str, Sequence[str]], name: str) -> str:
    """Without what all runs have in common, and the seed."""
    known = [set(each) for each in overrides.values() if each]
    common = set.intersection(*known) if len(known) > 1 else set()
    own = [each for each in overrides[name] if each not in common and not each.lstrip("+").startswith("seed=")]
    return " ".join(own)


def _with_facts(rows: pd.DataFrame, run: "pd.Series[Any]") -> pd.DataFrame:
    rows = rows.drop(columns=[fact for fact in run.index if fact in rows])
    facts = pd.DataFrame({fact: [value] * len(rows) for fact, value in run.items()})
    return pd.concat([facts, rows.reset_index(drop=True)], axis=1)


def _kinds(runs: pd.DataFrame) -> dict[str, Any]:
    """Column types that a loop over rows has made objects of."""
    return {str(column): kind for column, kind in runs.dtypes.items() if kind != "object"}


def _range_test(run: Path) -> pd.DataFrame:
    return _parts(run / RANGE_TEST).assign(**_said(run, RANGE_TEST))


def _phase(run: Path) -> pd.DataFrame:
    rows = _parts(run / PHASE)
    if rows.empty:
        return rows
    said = {_final(key, rows): value for key, value in _said(run, PHASE).items()}
    rows = rows.rename(columns={"name": "layer_name"}).assign(**_training(run), **said)
    return rows.merge(_tested(run), on="step", how="left")


def _growth(run: Path) -> pd.DataFrame:
    rows, lengths = _parts(run / PHASE), _parts(run / LENGTHS)
    if rows.empty or lengths.empty or lengths["layer"].nunique() != rows["layer"].nunique() + 1:
        return pd.DataFrame()
    before = lengths.rename(columns={"mean": "length_before"})[["step", "layer", "length_before"]]
    after = lengths.rename(columns={"mean": "length"})[["step", "layer", "length"]]
    after = after.assign(layer=after["layer"] - 1)  # layer 0 of lengths is the input
    rows = rows.rename(columns={"name": "layer_name"}).merge(before).merge(after)
    tests = _tested(run)[TESTED[1]].dropna()
    accuracy = float(tests.iloc[-1]) if len(tests) else np.nan
    return rows.assign(activation=(_config(run).get("model") or {}).get("activation"), final_accuracy=accuracy)


def _final(key: str, rows: pd.DataFrame) -> str:
    """What is said of a quantity that the rows have is of the end of training."""
    return f"final_{key}" if key in rows or key.startswith("slope_") else key


def _training(run: Path) -> dict[str, float]:
    """What the scaling law asks of a config."""
    config = _config(run)
    optimizer, datamodule, trainer = (config.get(group) or {} for group in ("optimizer", "datamodule", "trainer"))
    batch = _number(datamodule.get("batch_size")) * _number(trainer.get("accumulate_grad_batches") or 1)
    settings = {"eta": "lr", "alpha": "momentum", "weight_decay": "weight_decay"}
    return {**{name: _number(optimizer.get(key)) for name, key in settings.items()}, "batch": batch}


def _config(run: Path) -> Mapping[str, Any]:
    try:
        return RunDirectory(run).config()
    except (OSError, ValueError):
        return {}


def _tested(run: Path) -> pd.DataFrame:
    """Test loss and accuracy by the number of steps behind them: Lightning counts the steps of a row from 0."""
    rows = _epochs(run).reindex(columns=["step", *TESTED]).dropna(subset=TESTED, how="all")
    return rows.assign(step=rows["step"].astype("int64") + 1)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def _parts(table: Path) -> pd.DataFrame:
    """Read past `Table`, which would put in order what a running job is about to."""
    try:
        return pd.read_parquet(table) if any(table.glob("part-*.parquet")) else pd.DataFrame()
    except (OSError, ValueError):  # joined with others at this moment, or damaged
        return pd.DataFrame()


def _said(run: Path, name: str) -> dict[str, Any]:
    """What the summary says of a table, as far as it is a number or a word."""
    said = _summary(run).get(name) or {}
    return {
        key: np.nan if value is None else value for key, value in said.items() if not isinstance(value, dict | list)
    }


def _epochs(run: Path) -> pd.DataFrame:
    try:
        return pd.DataFrame(list(read_metrics(run / METRICS).values()))
    except (OSError, ValueError, KeyError):  # damaged
        return pd.DataFrame()


def _summary(run: Path) -> dict[str, Any]:
    try:
        return RunDirectory(run).summary() or {}
    except (OSError, ValueError):  # begins again at this moment, or damaged
        return {}


_READ: dict[str, Callable[[Path], pd.DataFrame]] = {
    RANGE_TEST: _range_test,
    "epochs": _epochs,
    PHASE: _phase,
    GROWTH: _growth,
}
