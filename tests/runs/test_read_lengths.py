"""Lengths are read back as a table and as a matrix, from each directory that a run or the callback writes."""

from time import perf_counter

import numpy as np
import pandas as pd
import pytest

from start_training import read_lengths
from start_training.files.damaged_file import DamagedFile
from start_training.runs.table import Table

NAMES = ["input", "b", "a"]  # not in alphabetical order


def rows(steps: range, names: list[str], **further: object) -> pd.DataFrame:
    """Rows of the table, with mean 100 · step + layer."""
    table = pd.MultiIndex.from_product([steps, range(len(names))], names=["step", "layer"]).to_frame(index=False)
    name, mean = np.tile(names, len(steps)), 100.0 * table["step"] + table["layer"]
    return table.astype({"layer": "int32"}).assign(name=name, mean=mean, variance=mean / 2, count=8, **further)


def write(directory, *parts: pd.DataFrame) -> Table:
    table = Table(directory / "lengths")
    for part in parts:
        table.append(part)
    return table


@pytest.mark.parametrize("compacted", [False, True], ids=["as a killed run leaves it", "compacted"])
def test_a_table_and_its_matrix_have_layers_in_order_and_steps_as_columns(tmp_path, compacted):
    parts = [rows(range(at, at + 2), NAMES) for at in (0, 2, 4)]
    table = write(tmp_path, *parts)
    if compacted:
        table.compact()
    pd.testing.assert_frame_equal(read_lengths(str(tmp_path)), pd.concat(parts, ignore_index=True))
    for column, scale in (("mean", 1.0), ("variance", 0.5)):
        matrix = read_lengths(tmp_path, matrix=column)
        assert matrix.index.tolist() == [(0, "input"), (1, "b"), (2, "a")] and matrix.columns.tolist() == [*range(6)]
        np.testing.assert_array_equal(matrix, scale * (100 * np.arange(6) + np.arange(3)[:, None]))


def test_what_was_not_measured_is_nan_and_a_length_that_is_not_finite_stays(tmp_path):
    other = rows(range(4, 5), ["input", "c"])
    other["mean"] = [0.0, np.inf]
    write(tmp_path, rows(range(0, 4, 2), NAMES), other)
    matrix = read_lengths(tmp_path, matrix="mean")
    assert matrix.columns.tolist() == [0, 2, 4]
    expected = {(0, "input"): [0, 200, 0], (1, "b"): [1, 201, np.nan], (1, "c"): [np.nan, np.nan, np.inf],
                (2, "a"): [2, 202, np.nan]}  # fmt: skip
    assert matrix.index.tolist() == list(expected)
    np.testing.assert_array_equal(matrix, list(expected.values()))


def test_several_measurements_in_a_step_are_told_apart(tmp_path):
    table = pd.concat([rows(range(1), NAMES, phase="fake"), rows(range(1), NAMES, phase="real")])
    write(tmp_path / "named", table)
    matrix = read_lengths(tmp_path / "named", matrix="mean")
    assert matrix.index.names == ["layer", "name", "phase"]
    assert matrix.index.tolist() == [(*key, phase) for phase in ("fake", "real") for key in enumerate(NAMES)]
    write(tmp_path / "not", table.drop(columns="phase"))
    assert len(read_lengths(tmp_path / "not")) == 6
    assert read_lengths(tmp_path / "not", matrix="mean").index.tolist() == [
        (layer, name, number) for number in (0, 1) for layer, name in enumerate(NAMES)
    ]


def test_the_directory_of_the_only_fit_is_found_and_several_are_named(tmp_path):
    for place in (tmp_path / "default" / "activation_lengths" / "0", tmp_path / "given" / "0"):
        write(place, rows(range(1), NAMES))
        assert len(read_lengths(place.parents[len(place.relative_to(tmp_path).parts) - 2])) == 3
    base = tmp_path / "default"
    write(base, rows(range(2), NAMES))
    tables = (base / "lengths", base / "activation_lengths" / "0" / "lengths")
    with pytest.raises(ValueError, match=f"holds 2 tables of lengths; choose one: {tables[0]}, {tables[1]}$"):
        read_lengths(base)
    assert [len(read_lengths(table)) for table in tables] == [6, 3]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"directory = .*/absent: there is no such directory"):
        read_lengths(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"directory = .*: has no folder lengths/; give a run directory"):
        read_lengths(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(ValueError, match=r"directory = .*config.yaml: is a file; give the run directory that"):
        read_lengths(tmp_path / "config.yaml")
    table = write(tmp_path)
    with pytest.raises(ValueError, match="has no rows; no step was measured"):
        read_lengths(tmp_path)
    table.append(rows(range(2), NAMES))
    with pytest.raises(ValueError, match="matrix = 'name': must be one of count, mean, variance"):
        read_lengths(tmp_path, matrix="name")
    [part] = table.directory.iterdir()
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(DamagedFile, match=part.name):
        read_lengths(tmp_path)


@pytest.mark.slow
def test_a_hundred_layers_times_20_000_steps_take_less_than_ten_times_as_long_as_reading_the_files(tmp_path):
    names = ["input", *(f"hidden.{number}.activation" for number in range(99))]
    write(tmp_path, *(rows(range(at, at + 100), names) for at in range(0, 20_000, 100)))
    seconds: dict[str, list[float]] = {"matrix": [], "files": []}
    for _ in range(3):  # in turns, on a machine that others use, too
        began = perf_counter()
        assert read_lengths(tmp_path, matrix="mean").shape == (100, 20_000)
        seconds["matrix"].append(perf_counter() - began)
        began = perf_counter()
        assert len(pd.read_parquet(tmp_path / "lengths")) == 100 * 20_000
        seconds["files"].append(perf_counter() - began)
    assert min(seconds["matrix"]) < 10 * min(seconds["files"])  # 4 to 5 times: 0.7 s, on one busy core
