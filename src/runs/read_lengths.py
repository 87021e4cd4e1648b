"""Read the activation lengths that a run, or the callback in anyone's training, has recorded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.runs.table import COLUMNS, files_of, read_rows
from start_training.settings import one_of

NAME = "lengths"
STATISTICS = ("mean", "variance", "count")
FITS = "activation_lengths"  # holds a numbered directory for each fit of a Trainer
SHOWN = 5  # number of tables listed in an error message


def read_lengths(directory: Path | str, *, matrix: str | None = None) -> pd.DataFrame:
    """Read the activation lengths M_j = ‖act_j‖² / n_j of a run as a table, or one of its columns as a matrix.

    A run that still goes on, or that was killed, can be read, too.

    Args:
        directory: A run directory, the directory given to `ActivationLengths(directory=…)`, the default root directory
            of a Trainer whose `ActivationLengths` was given none, or the folder `lengths/` in one of these, which tells
            apart the tables of several fits.
        matrix: `mean`, `variance` or `count` to get this column as a matrix; None: the table.

    Returns:
        Without `matrix` a row for each measurement, ordered by step and layer, with the columns step, layer (number j;
        0 is the input), name, mean and variance of M_j over the samples of the step, and count, the number of samples.
        With `matrix` a row for each layer, in order, labelled (layer, name), and a column for each measured step; NaN
        where a layer was not measured. If layers have several measurements in a step, their rows are told apart by a
        further column of the table, such as `phase`, or else by the number of the measurement in its step: the label
        is then (layer, name, phase) or (layer, name, measurement).

    Raises:
        DamagedFile: A file of the table is damaged; the message names it.
        ValueError: The directory holds no lengths, or those of several fits, or there is no such column.

    Example:
        >>> import tempfile
        >>> from start_training import ActivationLengths, read_lengths
        >>> from start_training.runs.table import Table
        >>> directory = tempfile.mkdtemp()  # of a run of two steps, whose rows are written here by hand
        >>> rows = {"step": [0, 0, 1, 1], "layer": [0, 1] * 2, "name": ["input", "relu"] * 2}
        >>> rows |= {"mean": [1.0, 0.5, 1.0, 0.75], "variance": [0.1] * 4, "count": [8] * 4}
        >>> Table(Path(directory) / "lengths").append(pd.DataFrame(rows))
        >>> read_lengths(directory).query("name == 'relu'")["mean"].tolist()
        [0.5, 0.75]
        >>> read_lengths(directory, matrix="mean")
        step           0     1
        layer name
        0     input  1.0  1.00
        1     relu   0.5  0.75
    """
    if matrix is not None:
        one_of("matrix", matrix, STATISTICS)
    table = _table_in(Path(directory))
    rows = read_rows(table, columns=COLUMNS[NAME])
    if rows is None:
        raise ValueError(f"directory = {directory}: {table} has no rows; no step was measured")
    return rows if matrix is None else layer_matrix(rows, matrix)


def layer_matrix(rows: pd.DataFrame, column: str = "mean") -> pd.DataFrame:
    """Arrange a column of the table `lengths/` by layer and step, as `read_lengths` describes.

    Args:
        rows: The table, with at least one row.
        column: `mean`, `variance` or `count`.
    """
    columns, steps = pd.factorize(rows["step"], sort=True)
    keys = ["layer", "name"]
    further = [str(key) for key in rows if key not in {"step", *keys, *STATISTICS}]
    while not _are_different(cells := _labels(rows, keys) * len(steps) + columns):
        if not further:
            rows = rows.assign(measurement=rows.groupby(["step", *keys], sort=False, dropna=False).cumcount())
        keys.append(further.pop(0) if further else "measurement")
    labels, first = np.unique(cells // len(steps), return_index=True)
    values = np.full((len(labels), len(steps)), np.nan)
    values.flat[cells] = rows[column].to_numpy(np.float64)
    names = pd.DataFrame({key: rows[key].iloc[first] for key in keys})
    matrix = pd.DataFrame(values, pd.MultiIndex.from_frame(names), pd.Index(steps, name="step"))
    of_phases = [pd.factorize(names[key])[0] for key in reversed(keys[2:])]
    return matrix.iloc[np.lexsort((names["layer"].to_numpy(), *of_phases))]


def _labels(rows: pd.DataFrame, keys: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each row, from 0, that is equal for rows with equal values of the keys."""
    labels = np.zeros(len(rows), np.int64)
    for key in keys:
        codes, values = pd.factorize(rows[key], use_na_sentinel=False)
        labels = pd.factorize(labels * len(values) + codes)[0]
    return labels


def _are_different(cells: NDArray[np.int64]) -> bool:
    return bool(np.bincount(cells).max() == 1)


def _table_in(directory: Path) -> Path:
    """Return the only table `lengths/` in a directory or in those of its fits, or the directory if it is the table."""
    if directory.is_file():
        raise ValueError(f"directory = {directory}: is a file; give the run directory that it lies in")
    places = [directory, *(fit for folder in (directory, directory / FITS) for fit in files_of(folder))]
    tables = [place / NAME for place in places if (place / NAME).is_dir()]
    if not tables and directory.name == NAME and directory.is_dir():
        return directory
    if len(tables) == 1:
        return tables[0]
    if tables:
        names = [*map(str, tables[:SHOWN]), *["…"] * (len(tables) > SHOWN)]
        raise ValueError(
            f"directory = {directory}: holds {len(tables)} tables of lengths; choose one: {', '.join(names)}"
        )
    state = "has no folder lengths/" if directory.is_dir() else "there is no such directory"
    raise ValueError(f"directory = {directory}: {state}; give a run directory, or that of ActivationLengths")
