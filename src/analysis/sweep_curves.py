"""The recorded rows of all runs of a sweep as one long table: epochs, range tests, phases or growth of layers."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from start_training.analysis.sweep_table import listed_jobs, override_settings, sweep_table
from start_training.files.damaged_file import DamagedFile
from start_training.runs.directory import RunDirectory
from start_training.runs.metrics_file import read_metrics
from start_training.settings import one_of

RANGE_TEST, PHASE = "range_test", "phase"  # names of tables in a run directory, and of their entries in the summary
GROWTH, LENGTHS = "growth", "lengths"
TESTED = ["test/loss", "test/accuracy"]


def sweep_curves(
    directory: Path,
    kind: str,
    damaged: dict[str, DamagedFile] | None = None,
    *,
    trust: Collection[str] = (),
) -> pd.DataFrame:
    """Concatenate the recorded rows of all runs of a sweep.

    Args:
        directory: Directory of the sweep.
        kind: `epochs`, rows of each run's `metrics.csv`; `range_test`, rows of `range_test/`; `phase`, rows of
            `phase/`; or `growth`, the rows of `phase/` at steps that `lengths/` has too, for nets in which the
            activation after every layer but the readout was measured.
        damaged: Filled with the damaged file of each run that has one, by its directory; these runs are omitted.
        trust: Packages of the user that the configs of the runs may name.

    Returns:
        The columns of the recorded rows and, constant within a run, directory, name, status and seed; each setting that
        was overridden; varied, the overrides without the seed that not all runs share; configuration, a hash of the
        config without the seed; depth. Runs without rows are omitted. Further columns by kind:
        range_test: The results in the run's summary (max_lr, min_lr, rule, …); missing for a test that has not ended.
        phase: layer_name, the column `name` of the recorded table; test/loss and test/accuracy at the end of the epoch;
            eta, alpha, batch (samples per optimizer step) and weight_decay from the config, NaN if missing; the results
            in the run's summary, with the prefix final_ for names that the recorded rows have, too.
        growth: activation, the activation function; length_before and length, the mean M of the layer's input and of
            its activation; final_accuracy, the last test accuracy.

    Raises:
        DamagedFile: a file of a run is damaged, and `damaged` is None.
        ValueError: there is no such kind, or the directory holds no runs.
    """
    read = _READ[one_of("kind", kind, _READ)]
    errors: dict[str, DamagedFile] = {} if damaged is None else damaged
    listed = listed_jobs(directory, damaged)
    runs = sweep_table(directory, errors, trust=trust)
    tables = _tables(directory, runs["directory"], read, errors)
    if damaged is None and errors:
        raise next(iter(errors.values()))
    runs = runs[~runs["directory"].isin(errors)].reset_index(drop=True)
    names = runs["directory"]
    overrides = {name: listed.get(name) or _summary(directory / name).get("overrides", ()) for name in names}
    settings = list(dict.fromkeys(key for words in overrides.values() for key in override_settings(words)))
    facts = ["directory", "name", "status", "seed", *settings, "varied", "configuration", "depth"]
    runs["varied"] = [_varied(overrides, name) for name in names]
    runs = runs[[fact for fact in dict.fromkeys(facts) if fact in runs]]
    parts = [_with_facts(tables[run["directory"]], run) for _, run in runs.iterrows() if len(tables[run["directory"]])]
    dtypes = {str(column): dtype for column, dtype in runs.dtypes.items() if dtype != "object"}  # lost by iterrows
    return pd.concat(parts, ignore_index=True).astype(dtypes) if parts else runs[:0]


def _tables(
    directory: Path, names: Iterable[str], read: Callable[[Path], pd.DataFrame], damaged: dict[str, DamagedFile]
) -> dict[str, pd.DataFrame]:
    """Read the rows of each run that is not damaged; add a run whose rows cannot be read to `damaged`."""
    tables = {}
    for name in names:
        try:
            if name not in damaged:
                tables[name] = read(directory / name)
        except DamagedFile as error:
            damaged[name] = error
    return tables


def _varied(overrides: Mapping[str, Sequence[str]], name: str) -> str:
    """Return the overrides of a run without the seed and without those that all runs share."""
    known = [set(words) for words in overrides.values() if words]
    common = set.intersection(*known) if len(known) > 1 else set()
    return " ".join(word for word in overrides[name] if word not in common and not word.lstrip("+").startswith("seed="))


def _with_facts(rows: pd.DataFrame, run: "pd.Series[Any]") -> pd.DataFrame:
    facts = pd.DataFrame({fact: [value] * len(rows) for fact, value in run.items()})
    return pd.concat([facts, rows.drop(columns=run.index, errors="ignore").reset_index(drop=True)], axis=1)


def _range_test(run: Path) -> pd.DataFrame:
    return _parts(run, RANGE_TEST).assign(**_summarized(run, RANGE_TEST))


def _phase(run: Path) -> pd.DataFrame:
    rows = _parts(run, PHASE)
    if rows.empty:
        return rows
    # The summary holds values at the end of training; the prefix keeps them apart from columns of the same name.
    summary = {
        f"final_{key}" if key in rows or key.startswith("slope_") else key: value
        for key, value in _summarized(run, PHASE).items()
    }
    rows = rows.rename(columns={"name": "layer_name"}).assign(**_training(run), **summary)
    return rows.merge(_tested(run), on="step", how="left")


def _growth(run: Path) -> pd.DataFrame:
    rows, lengths = _parts(run, PHASE), _parts(run, LENGTHS)
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
    """Return eta, alpha, batch and weight_decay from a run's config; NaN for a setting that is missing."""
    config = _config(run)
    optimizer, datamodule, trainer = (config.get(group) or {} for group in ("optimizer", "datamodule", "trainer"))
    batch = _number(datamodule.get("batch_size")) * _number(trainer.get("accumulate_grad_batches") or 1)
    settings = {"eta": "lr", "alpha": "momentum", "weight_decay": "weight_decay"}
    return {**{name: _number(optimizer.get(key)) for name, key in settings.items()}, "batch": batch}


def _tested(run: Path) -> pd.DataFrame:
    """Return test loss and accuracy by the number of completed steps; Lightning counts steps from 0."""
    rows = _epochs(run).reindex(columns=["step", *TESTED]).dropna(subset=TESTED, how="all")
    return rows.assign(step=rows["step"].astype("int64") + 1)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def _summarized(run: Path, name: str) -> dict[str, Any]:
    """Return the entry `name` of a run's summary without nested lists and dictionaries."""
    entry = _summary(run).get(name) or {}
    return {
        key: np.nan if value is None else value for key, value in entry.items() if not isinstance(value, dict | list)
    }


def _parts(run: Path, table: str) -> pd.DataFrame:
    """Read a table of a run directory; empty if the table has no rows."""
    rows = RunDirectory(run).rows(table)
    return pd.DataFrame() if rows is None else rows


def _config(run: Path) -> Mapping[str, Any]:
    return RunDirectory(run).unchecked_config()


def _epochs(run: Path) -> pd.DataFrame:
    return pd.DataFrame(list(read_metrics(RunDirectory(run).metrics_file).values()))


def _summary(run: Path) -> dict[str, Any]:
    return RunDirectory(run).summary() or {}


_READ: dict[str, Callable[[Path], pd.DataFrame]] = {
    RANGE_TEST: _range_test,
    "epochs": _epochs,
    PHASE: _phase,
    GROWTH: _growth,
}
