"""The curves of a sweep as one long table: rows of every run's range test, of its epochs, or of its layers' phases."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from start_training.analysis.sweep_table import override_settings, sweep_table
from start_training.runs.directory import RunDirectory
from start_training.runs.metrics_file import read_metrics
from start_training.runs.sweep_jobs import read_jobs
from start_training.settings import one_of

RANGE_TEST, PHASE = "range_test", "phase"  # tables in a run directory, and what the summary calls their results
GROWTH, LENGTHS = "growth", "lengths"
T = TypeVar("T")
TESTED = ["test/loss", "test/accuracy"]


def sweep_curves(directory: Path, kind: str) -> pd.DataFrame:
    """The rows of all runs of a sweep, one below the other.

    Before them, the same in every row of a run: directory, name, status and seed; each setting that was overridden;
    varied: those settings, as text, that tell its configuration from others of the sweep, the seed aside;
    configuration: hash of all but the seed; depth. After them, of a range test, what the run's summary says of it:
    max_lr, min_lr, rule, …, missing where it has not ended. Of phases: layer_name, the table's `name`; test/loss and
    test/accuracy of the epoch that ends there; eta, alpha, batch (all that goes into one step) and weight_decay of the
    run's config, NaN where it has none; and what the summary says, as final_J, final_slope, …, lowest_test_loss, ….
    Of growth: the net's activation; length_before and length, mean M of the layer's input and of the activation after
    it; final_accuracy, of the last test.
    A run without rows is left out: what became of it `sweep_table` says. Empty where no run has any.

    Args:
        directory: Of the sweep.
        kind: `range_test`, the rows of each run's `range_test/`; `epochs`, of `metrics.csv`; `phase`, of `phase/`; or
            `growth`, of `phase/` at whose step `lengths/` has rows too, of nets in which an activation was measured
            after every layer but the readout.

    Raises:
        ValueError: for another kind, or a directory that holds no sweep.
    """
    read = _READ[one_of("kind", kind, _READ)]
    runs = sweep_table(directory)
    listed = {job.directory: job.overrides for job in read_jobs(directory)}
    names = runs["directory"]
    overrides = {name: listed.get(name) or _summary(directory / name).get("overrides", ()) for name in names}
    settings = list(dict.fromkeys(key for words in overrides.values() for key in override_settings(words)))
    facts = ["directory", "name", "status", "seed", *settings, "varied", "configuration", "depth"]
    runs["varied"] = [_varied(overrides, name) for name in names]
    runs = runs[[fact for fact in dict.fromkeys(facts) if fact in runs]]
    tables = [_with_facts(rows, run) for _, run in runs.iterrows() if len(rows := read(directory / run["directory"]))]
    kinds = {str(column): kind for column, kind in runs.dtypes.items() if kind != "object"}  # which the loop has lost
    return pd.concat(tables, ignore_index=True).astype(kinds) if tables else runs[:0]


def _varied(overrides: Mapping[str, Sequence[str]], name: str) -> str:
    """The overrides of a run without those that all runs have, and without the seed."""
    known = [set(words) for words in overrides.values() if words]
    common = set.intersection(*known) if len(known) > 1 else set()
    return " ".join(word for word in overrides[name] if word not in common and not word.lstrip("+").startswith("seed="))


def _with_facts(rows: pd.DataFrame, run: "pd.Series[Any]") -> pd.DataFrame:
    facts = pd.DataFrame({fact: [value] * len(rows) for fact, value in run.items()})
    return pd.concat([facts, rows.drop(columns=run.index, errors="ignore").reset_index(drop=True)], axis=1)


def _range_test(run: Path) -> pd.DataFrame:
    return _parts(run / RANGE_TEST).assign(**_summarized(run, RANGE_TEST))


def _phase(run: Path) -> pd.DataFrame:
    rows = _parts(run / PHASE)
    if rows.empty:
        return rows
    # What the summary says of a quantity that the rows have, too, is of the end of training.
    summary = {
        f"final_{key}" if key in rows or key.startswith("slope_") else key: value
        for key, value in _summarized(run, PHASE).items()
    }
    rows = rows.rename(columns={"name": "layer_name"}).assign(**_training(run), **summary)
    return rows.merge(_tested(run), on="step", how="left")


def _growth(run: Path) -> pd.DataFrame:
    rows, lengths = _parts(run / PHASE), _parts(run / LENGTHS)
    if rows.empty or lengths.empty or lengths["layer"].nunique() != rows["layer"].nunique() + 1:
        return pd.DataFrame()
    lengths = lengths[["step", "layer", "mean"]]
    before = lengths.rename(columns={"mean": "length_before"})
    after = lengths.rename(columns={"mean": "length"}).assign(layer=lengths["layer"] - 1)  # layer 0 is the input
    rows = rows.rename(columns={"name": "layer_name"}).merge(before).merge(after)
    tests = _tested(run)[TESTED[1]].dropna()
    accuracy = float(tests.iloc[-1]) if len(tests) else np.nan
    return rows.assign(activation=(_config(run).get("model") or {}).get("activation"), final_accuracy=accuracy)


def _training(run: Path) -> dict[str, float]:
    """The settings of a config that the scaling law has."""
    config = _config(run)
    optimizer, datamodule, trainer = (config.get(group) or {} for group in ("optimizer", "datamodule", "trainer"))
    batch = _number(datamodule.get("batch_size")) * _number(trainer.get("accumulate_grad_batches") or 1)
    settings = {"eta": "lr", "alpha": "momentum", "weight_decay": "weight_decay"}
    return {**{name: _number(optimizer.get(key)) for name, key in settings.items()}, "batch": batch}


def _tested(run: Path) -> pd.DataFrame:
    """Test loss and accuracy by the number of steps behind them: Lightning counts the steps of a row from 0."""
    rows = _epochs(run).reindex(columns=["step", *TESTED]).dropna(subset=TESTED, how="all")
    return rows.assign(step=rows["step"].astype("int64") + 1)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def _summarized(run: Path, name: str) -> dict[str, Any]:
    """The numbers and words of the summary's entry of this name."""
    entry = _summary(run).get(name) or {}
    return {
        key: np.nan if value is None else value for key, value in entry.items() if not isinstance(value, dict | list)
    }


def _parts(table: Path) -> pd.DataFrame:
    """Not read by `Table`, which would tidy up what a running job is writing."""
    return _readable(
        lambda: pd.read_parquet(table) if any(table.glob("part-*.parquet")) else pd.DataFrame(), pd.DataFrame()
    )


def _config(run: Path) -> Mapping[str, Any]:
    return _readable(RunDirectory(run).config, {})


def _epochs(run: Path) -> pd.DataFrame:
    return _readable(lambda: pd.DataFrame(list(read_metrics(RunDirectory(run).metrics_file).values())), pd.DataFrame())


def _summary(run: Path) -> dict[str, Any]:
    return _readable(lambda: RunDirectory(run).summary() or {}, {})


def _readable(read: Callable[[], T], default: T) -> T:
    """What `read` returns; the default for a file that is damaged, or replaced at this moment by a running job."""
    try:
        return read()
    except (OSError, ValueError, KeyError):
        return default


_READ: dict[str, Callable[[Path], pd.DataFrame]] = {
    RANGE_TEST: _range_test,
    "epochs": _epochs,
    PHASE: _phase,
    GROWTH: _growth,
}
