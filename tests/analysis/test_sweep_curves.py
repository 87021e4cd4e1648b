"""Long tables of sweeps, built from generated run directories, and the suggestions of range tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import sem

from start_training.analysis.suggestions import indistinguishable, largest_rate, lowest_loss, suggestions
from start_training.analysis.sweep_curves import sweep_curves
from start_training.files.damaged_file import DamagedFile
from start_training.runs.directory import RunDirectory
from start_training.runs.sweep_jobs import add_jobs
from tests.analysis.made_phases import leave_phases, losses, phases
from tests.analysis.test_sweep_table import config_of

POINTS = 12


def curves(turn: float, *, diverges: bool = False, floor: float = 0.5) -> pd.DataFrame:
    """Generate the rows of a range test whose validation loss has its minimum `floor` at the learning rate `turn`."""
    rates = np.geomspace(0.01, 10, POINTS)
    loss = floor + np.abs(np.log(rates / turn)) / 4
    loss[-1] = np.inf if diverges else loss[-1]
    seen = np.arange(POINTS) % 2 == 1
    return pd.DataFrame(
        {
            "step": np.arange(POINTS),
            "learning_rate": rates,
            "train_loss": loss - 0.1,
            "val_loss": np.where(seen, loss, np.nan),
            "val_accuracy": np.where(seen, np.exp(-loss), np.nan),
        }
    )


def leave_test(
    sweep: Path,
    seed: int = 0,
    decay: float | None = None,
    *,
    turn: float = 1.0,
    status: str | None = "completed",
    rows: bool = True,
    turned: bool = True,
    more: tuple[str, ...] = (),
    **curve: Any,
) -> RunDirectory:
    """Write the run directory of a range test; status None is a run that was killed."""
    typed = [] if decay is None else [f"optimizer.weight_decay={decay:g}"]
    overrides = (*more, *typed, f"seed={seed}")
    run = RunDirectory(sweep / "_".join(overrides).replace("/", "-"))
    run.begin(config_of(seed=seed) | {"optimizer": {"weight_decay": decay}})
    rows_of_test = curves(turn if np.isfinite(turn) else 1.0, **curve)
    if rows:
        run.table("range_test").append(rows_of_test)
    if status is not None:
        rates = {"max_lr": turn, "min_lr": turn / 10, "cyclical_min_lr": turn / 3, "ramp": "exponential"}
        rates |= {"turned": turned}
        diverged = {"diverged_at": POINTS - 1 if curve.get("diverges") else None, "rule": "the lowest"}
        results = {"range_test": rates | diverged} if rows and status == "completed" else {}
        origin = {"overrides": list(overrides), "config_hash": "abc", "seconds": 1.5, "metrics": {}}
        run.write_summary({"status": status, "reason": "why", "steps": 0, "epochs": 0, **origin, **results})
    run.release()
    add_jobs(sweep, {run.path.name: overrides})
    return run


def test_each_step_of_a_range_test_is_a_row_with_the_settings_and_suggestion_of_its_run(tmp_path):
    for decay in (0.001, 0.1):
        for seed in (0, 1):
            leave_test(tmp_path, seed, decay, turn=0.3, more=("logger=csv",), diverges=decay == 0.1)
    table = sweep_curves(tmp_path, "range_test")
    assert len(table) == 4 * POINTS
    one = table[(table["seed"] == 1) & (table["optimizer.weight_decay"] == 0.1)]
    expected = curves(0.3, diverges=True)
    pd.testing.assert_frame_equal(one[list(expected)].reset_index(drop=True), expected)
    facts = {"status": "completed", "logger": "csv", "depth": 4, "varied": "optimizer.weight_decay=0.1"}
    facts |= {"max_lr": 0.3, "min_lr": 0.03, "ramp": "exponential", "rule": "the lowest", "diverged_at": POINTS - 1}
    assert {name: one[name].iloc[0] for name in facts} == facts
    assert table["configuration"].nunique() == 2
    assert pd.api.types.is_integer_dtype(table["seed"]) and table["step"].dtype == np.int64
    assert table[table["optimizer.weight_decay"] == 0.001]["diverged_at"].isna().all()


def test_varied_lists_the_overrides_that_not_all_runs_share_without_the_seed(tmp_path):
    leave_test(tmp_path, 0, more=("optimizer.momentum=0",))
    assert set(sweep_curves(tmp_path, "range_test")["varied"]) == {"optimizer.momentum=0"}  # of a single run
    leave_test(tmp_path, 1, more=("optimizer.momentum=0",))
    assert set(sweep_curves(tmp_path, "range_test")["varied"]) == {""}
    leave_test(tmp_path, 0, 0.1)
    (tmp_path / "jobs.json").unlink()  # as with another sweeper, which keeps no list
    varied = sweep_curves(tmp_path, "range_test")["varied"].unique()
    assert varied.tolist() == ["optimizer.momentum=0", "optimizer.weight_decay=0.1"]


def test_failed_killed_absent_and_damaged_runs_do_not_prevent_a_table(tmp_path):
    leave_test(tmp_path, 0)
    leave_test(tmp_path, 1, status="failed", rows=False)
    leave_test(tmp_path, 2, status=None)  # killed after the test, before its summary was written
    add_jobs(tmp_path, {"to_come": ("seed=4",)})
    damaged, worse = leave_test(tmp_path, 5), leave_test(tmp_path, 6)
    [part] = (damaged.path / "range_test").glob("*.parquet")
    part.write_bytes(b"PAR1")
    worse.summary_file.write_text("{")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DamagedFile):
        sweep_curves(tmp_path, "range_test")
    table = sweep_curves(tmp_path, "range_test", errors := {})
    assert {name: error.path for name, error in errors.items()} == {"seed=5": part, "seed=6": worse.summary_file}
    assert sorted(tmp_path.rglob("*")) == before
    found = table.groupby("directory").agg(status=("status", "first"), max_lr=("max_lr", "first"))
    assert found["status"].to_dict() == {"seed=0": "completed", "seed=2": "killed"}
    assert found["max_lr"].dropna().to_dict() == {"seed=0": 1.0}
    assert sweep_curves(tmp_path, "epochs", {}).empty and sweep_curves(tmp_path, "growth", {}).empty


def test_phases_are_joined_with_test_losses_and_with_settings_from_the_config(tmp_path):
    for seed in (0, 1):
        leave_phases(tmp_path, seed, eta=0.2, alpha=0.5, batch=16, decay=1e-3, epochs=4)
    table = sweep_curves(tmp_path, "phase")
    assert len(table) == 2 * 2 * 5  # seeds, layers, measurements
    broken = leave_test(tmp_path, 9, rows=False)
    broken.metrics_file.write_text("epoch\n1\n")  # no step
    epochs = sweep_curves(tmp_path, "epochs", errors := {})
    assert errors["seed=9"].path == broken.metrics_file
    assert epochs[epochs["seed"] == 1]["step"].tolist() == [99, 199, 299, 399, 400]
    assert (len(epochs), epochs["test/loss"].iloc[-1], epochs["optimizer.lr"].iloc[-1]) == (10, 9.0, 0.2)
    one = table[(table["seed"] == 1) & (table["layer"] == 1)].reset_index(drop=True)
    rows = phases(0.2, 0.5, 16, epochs=4, decay=1e-3)
    rows = rows[rows["layer"] == 1].reset_index(drop=True)
    kept = [column for column in rows if column != "name"]
    pd.testing.assert_frame_equal(one[kept], rows[kept])
    assert one["layer_name"].tolist() == ["hidden.linear"] * 5
    assert one["name"][0].startswith("optimizer.lr=0.2 ")
    expected = [np.where(rows["step"] > 0, of_epoch, np.nan) for of_epoch in losses(rows["J2"])]  # not 9
    np.testing.assert_allclose(one[["test/loss", "test/accuracy"]].T, expected)
    facts = {"eta": 0.2, "alpha": 0.5, "batch": 16, "weight_decay": 1e-3, "lowest_test_loss": 0.4}
    facts |= {"final_slope": 0.1, "final_slope_end": 4.0, "final_J": 1.0, "final_layer": "hidden.linear"}
    assert {name: one[name][0] for name in facts} == facts


def test_growth_has_the_lengths_before_and_after_each_layer_at_steps_of_both_tables(tmp_path):
    run, deeper = leave_phases(tmp_path, 0, epochs=2), leave_phases(tmp_path, 1, epochs=2)
    for layers, sweep_run in ((3, run), (4, deeper)):  # in the second run too many activations were measured
        lengths = pd.DataFrame({"step": np.repeat([0, 50, 100], layers), "layer": np.tile(range(layers), 3)})
        sweep_run.table("lengths").append(
            lengths.assign(name="x", variance=0.0, mean=lengths["step"] + lengths["layer"] / 10)
        )
    table = sweep_curves(tmp_path, "growth")
    assert set(table["seed"]) == {0}
    assert table[["step", "layer"]].to_numpy().tolist() == [[0, 0], [0, 1], [100, 0], [100, 1]]
    assert table["length_before"].tolist() == pytest.approx([0, 0.1, 100, 100.1])
    assert table["length"].tolist() == pytest.approx([0.1, 0.2, 100.1, 100.2])
    last = phases(0.1, 0.0, 32, epochs=2)["J2"].iloc[-1]
    assert table["final_accuracy"].tolist() == pytest.approx([losses(last)[1]] * 4)


def test_the_batch_includes_accumulated_batches_and_missing_settings_are_nan(tmp_path):
    run = leave_phases(tmp_path, epochs=2, status=None, tested=False)
    config = run.config()
    config["trainer"]["accumulate_grad_batches"] = 4
    del config["optimizer"]["momentum"]
    run.config_file.write_text(yaml.safe_dump(config))
    table = sweep_curves(tmp_path, "phase")
    np.testing.assert_array_equal(table[["eta", "alpha", "batch"]].iloc[0], [0.1, np.nan, 128])
    assert table["test/loss"].isna().all()
    with pytest.raises(ValueError, match="kind = 'steps': must be one of epochs, growth, phase, range_test"):
        sweep_curves(tmp_path, "steps")


def test_suggestions_summarize_the_seeds_of_each_configuration(tmp_path):
    for seed, turn in enumerate((0.25, 0.5, 1.0)):
        leave_test(tmp_path, seed, 0.001, turn=turn, floor=0.5 + seed / 10, diverges=seed == 2)
        leave_test(tmp_path, seed, 0.1, turn=2 * turn, floor=1.5)
    leave_test(tmp_path, 3, 0.1, status=None)  # has no summary yet
    found = suggestions(sweep_curves(tmp_path, "range_test"))
    assert found["varied"].tolist() == ["optimizer.weight_decay=0.001", "optimizer.weight_decay=0.1"]
    small, large = (row for _, row in found.iterrows())
    assert small[["tests", "max_lr", "max_lr_low", "max_lr_high"]].tolist() == [3, 0.5, 0.25, 1.0]
    assert small[["octaves", "usable", "turned", "diverged"]].tolist() == [2.0, 3, 3, 1]
    assert small[["min_lr", "cyclical_min_lr"]].tolist() == pytest.approx([0.05, 0.5 / 3])
    lowest = [curves(turn, floor=0.5 + seed / 10)["val_loss"].min() for seed, turn in enumerate((0.25, 0.5, 1.0))]
    for name, best in (("val_loss", np.array(lowest)), ("val_accuracy", np.exp(np.negative(lowest)))):
        of_best = small[[name, f"{name}_error", f"{name}_low", f"{name}_high"]].tolist()
        assert of_best == pytest.approx([best.mean(), sem(best), best.min(), best.max()])
        assert small[f"{name}_rate"] == curves(0.5)["learning_rate"][7]  # 0.51
    assert large["overrides"] == "optimizer.weight_decay=0.1"
    assert (largest_rate(found), lowest_loss(found)) == (1, 0)
    assert indistinguishable(found, 1, "max_lr") == [0]
    assert indistinguishable(found, 0, "val_loss") == []
    assert suggestions(sweep_curves(tmp_path, "range_test"), by="status")["tests"].tolist() == [6]


def test_overlapping_ranges_and_single_tests_are_indistinguishable():
    found = pd.DataFrame({"max_lr_low": [1, 3, 4], "max_lr_high": [3, 4, 5], "tests": [2, 2, 2]})
    assert [indistinguishable(found, row, "max_lr") for row in range(3)] == [[1], [0, 2], [1]]
    assert indistinguishable(found.assign(tests=[1, 2, 2]), 2, "max_lr") == [0, 1]


def test_range_tests_without_a_rate_are_counted_but_not_averaged(tmp_path):
    leave_test(tmp_path, 0, 0.001, turn=0.5, turned=False)
    leave_test(tmp_path, 1, 0.001, turn=np.nan)
    leave_test(tmp_path, 0, 0.1, turn=np.nan)
    table = sweep_curves(tmp_path, "range_test")
    found = suggestions(table)
    assert found[["tests", "usable"]].to_numpy().tolist() == [[2, 1], [1, 0]]
    assert suggestions(table.groupby("directory").head(1))["tests"].tolist() == [
        2,
        1,
    ]  # one step each
    assert (found["max_lr"][0], found["turned"][0]) == (0.5, 1)
    assert found.loc[1, ["max_lr", "max_lr_low", "octaves", "min_lr", "val_loss_error"]].isna().all()
    assert largest_rate(found) == largest_rate(found[1:]) == 0
    leave_test(tmp_path / "none", status=None)
    assert suggestions(sweep_curves(tmp_path / "none", "range_test")).empty
