"""The columns that a figure's settings name are checked before the sweep has run."""

import pytest

from start_training.analysis.columns import RECORDED, check_chosen_columns
from start_training.analysis.sweep_curves import sweep_curves
from start_training.analysis.sweep_table import sweep_table


def test_a_column_has_to_be_a_setting_of_the_sweep_or_recorded():
    figure = {"by": "initializer", "x": ["depth", "test/accuracy"], "panel": None, "title": "nosuch"}
    check_chosen_columns(figure, ["initializer"])
    for option, column in (("by", "nosuch"), ("x", ["depth", "nosuch"]), ("panel", "nosuch")):
        with pytest.raises(ValueError, match=rf"^figure.{option} = nosuch: no such column .* \(initializer\)"):
            check_chosen_columns({**figure, option: column}, ["initializer"])


def test_every_recorded_column_of_a_run_is_known(trained, tmp_path):
    run = trained("callbacks=phase_and_lengths")
    (tmp_path / run.name).symlink_to(run)
    tables = [sweep_table(tmp_path), *(sweep_curves(tmp_path, kind) for kind in ("epochs", "phase", "growth"))]
    columns = {str(column) for table in tables for column in table}
    assert {"J2", "length", "beta"} <= columns
    known = {column for column in columns if column in RECORDED or "/" in column or column.startswith("final_")}
    assert columns - known <= {"logger", "callbacks", "varied"} | {name for name in columns if "." in name}
