"""Tables of generated sweeps, with one row for each job, whether finished, failed or not begun."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from start_training.analysis.sweep_table import override_settings, sweep_table
from start_training.runs.directory import RunDirectory
from start_training.runs.sweep_jobs import add_jobs

MAXIMUM = 30


def config_of(depth: int = 4, width: int = 8, seed: int = 0, **model: Any) -> dict[str, Any]:
    return {
        "seed": seed,
        "depth": depth,
        "model": {
            "_target_": "start_training.models.fully_connected.FullyConnected", "depth": depth, "width": width, **model
        },
        "datamodule": {
            "_target_": "start_training.datamodules.random_inputs.RandomInputs", "input_size": 5, "seed": seed
        },
        "trainer": {"max_epochs": MAXIMUM},
    }  # fmt: skip


def start(epoch: int | None) -> dict[str, Any]:
    """Return the entry that the callback start_of_training writes into the summary."""
    step = None if epoch is None else 10 * epoch
    settings = {"metric": "test/accuracy", "threshold": 0.2, "every_n_steps": None}
    return {"start_of_training": {**settings, "epoch": epoch, "step": step, "accuracy": 0.3 if epoch else 0.1}}


def leave_run(
    sweep: Path,
    name: str,
    config: dict[str, Any],
    *,
    overrides: tuple[str, ...] = (),
    status: str | None = "completed",
    epoch: int | None = None,
    growth: float | None = None,
    records_start: bool = True,
    **steps: Any,
) -> RunDirectory:
    """Write the directory of a run; status None is a run that was killed."""
    run = RunDirectory(sweep / name)
    run.begin(config)
    if growth is not None:
        rows = {"growth_rate": growth, "layer_variance": 0.5, "relative_layer_variance": 0.25} | steps
        table = run.table("steps")
        for step in range(3):  # step 0 is the initialization
            table.append(pd.DataFrame({"step": [step], **{key: [value] for key, value in rows.items()}}))
            rows = {key: None if key == "first_nonfinite_layer" else 99.0 for key in rows}
    if status is not None:
        summary = {"status": status, "reason": "why", "metrics": {"test/accuracy": 0.25, "test/loss": 2.0}}
        run.write_summary(
            summary
            | {"steps": 300, "epochs": MAXIMUM, "seconds": 1.5, "overrides": list(overrides), "config_hash": "abc"}
            | (start(epoch) if records_start else {})
        )
    run.release()
    return run


def only_row(sweep: Path, **options) -> "pd.Series[Any]":
    [row] = [row for _, row in sweep_table(sweep, **options).iterrows()]
    return row


def test_a_row_has_overrides_status_start_net_and_metrics_of_a_run(tmp_path):
    overrides = ("initializer=he_normal", "+model.width=8", "depth=7", "seed=3", "datamodule.labels=[0,1]", "~schedule")
    leave_run(tmp_path, "a", config_of(seed=3), overrides=overrides, epoch=4, growth=-0.5)
    row = only_row(tmp_path)
    expected = {
        "directory": "a", "name": " ".join(overrides), "status": "completed", "reason": "why",
        "initializer": "he_normal", "model.width": 8.0, "datamodule.labels": "[0,1]", "seed": 3,
        "start_epoch": 4, "start_step": 40, "started": True, "observed_epoch": 4, "max_epochs": MAXIMUM,
        "start_metric": "test/accuracy", "start_threshold": 0.2,
        "depth": 4, "beta": 0.5, "growth_rate": -0.5, "layer_variance": 0.5, "relative_layer_variance": 0.25,
        "log_growth": 2.0, "test/accuracy": 0.25, "test/loss": 2.0, "steps": 300, "epochs": MAXIMUM, "seconds": 1.5,
        "config_hash": "abc",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert set(row.index) == {*expected, "configuration"}
    for name, seed, widths in (("b", 4, [8] * 4), ("c", 3, [6, 12, 6, 12])):
        leave_run(tmp_path, name, config_of(seed=seed, **({"widths": widths} if name == "c" else {})))
    table = sweep_table(tmp_path)
    assert table["configuration"][0] == table["configuration"][1] != table["configuration"][2]
    assert table["beta"].tolist() == [0.5] * 3  # equal sums of reciprocal widths are equal numbers
    assert override_settings(["+a.b=x=y", "++c=", "~d", "e@f=g"]) == {"a.b": "x=y", "c": "", "e@f": "g"}


@pytest.mark.parametrize(
    ("status", "epoch", "started", "observed"),
    [
        ("completed", 4, True, 4),
        ("completed", None, False, MAXIMUM),
        ("diverged", None, False, MAXIMUM),  # it would never have started
        ("diverged", 2, True, 2),
        ("interrupted", None, None, None),  # it may start yet
        ("interrupted", 5, True, 5),
        ("failed", None, None, None),
        (None, None, None, None),
        ("no callback", None, None, None),
    ],
)
def test_only_a_finished_run_that_never_started_is_censored_at_the_maximum(tmp_path, status, epoch, started, observed):
    records = status != "no callback"
    status = status if records else "completed"
    for trainer in ({"max_epochs": MAXIMUM}, {"max_epochs": -1}, {}):  # the last two end by steps, after MAXIMUM epochs
        config = config_of() | {"trainer": trainer}
        leave_run(tmp_path, f"{trainer}", config, status=status, epoch=epoch, records_start=records)
    for _, row in sweep_table(tmp_path).iterrows():
        assert (None if row["started"] is pd.NA else row["started"]) is started
        assert (None if row["observed_epoch"] is pd.NA else row["observed_epoch"]) == observed
        assert row["status"] == (status or "killed")


def test_a_listed_job_that_has_not_begun_is_a_row_too(tmp_path):
    leave_run(tmp_path, "done", config_of(), overrides=("seed=0",), epoch=1)
    leave_run(tmp_path, "earlier", config_of(seed=5), overrides=("seed=5",), epoch=1)
    jobs = {"to_come": ("depth=9", "seed=1"), "done": ("depth=9", "seed=0")}
    add_jobs(tmp_path, jobs)
    table = sweep_table(tmp_path).set_index("directory")
    assert table["status"].to_dict() == {"to_come": "absent", "done": "completed", "earlier": "completed"}
    assert table["seed"].to_dict() == {"to_come": 1, "done": 0, "earlier": 5}
    assert table["depth"].to_dict() == {"to_come": 9, "done": 4, "earlier": 4}  # to_come is known only by its override
    assert table["name"]["to_come"] == "depth=9 seed=1"
    assert list(table.columns[:3]) == ["name", "status", "reason"]  # whichever job is first
    assert table["max_epochs"].dtype == "Int64" and table["started"].dtype == "boolean"
    add_jobs(tmp_path / "none", jobs)
    assert sweep_table(tmp_path / "none")["started"].isna().all()


@pytest.mark.parametrize(
    ("model", "depth", "beta"),
    [
        ({"widths": [30, 10, 30]}, 3, 1 / 6),
        ({"_target_": "start_training.models.residual.Residual", "modules": 6}, 6, np.nan),
        ({"_target_": "moved.away.Net"}, 4, np.nan),  # the depth is that of the config
        ({"width": -1}, 4, np.nan),
        ({"width": -1, "of": "four"}, None, np.nan),
    ],
)
def test_depth_and_beta_are_those_of_the_net_if_it_can_be_built(tmp_path, model, depth, beta):
    config = config_of(**model)
    if "modules" in model:
        del config["model"]["depth"]
    config["depth"] = model.get("of", 4)
    leave_run(tmp_path, "a", config, epoch=1)
    state = torch.get_rng_state()
    row = only_row(tmp_path, trust=["moved"])
    assert (None if pd.isna(row["depth"]) else row["depth"]) == depth
    assert row["beta"] == pytest.approx(beta, nan_ok=True)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("growth", "layer", "expected"),
    [(0.25, None, 0.25), (np.nan, 3, np.inf), (-np.inf, None, -np.inf), (None, None, np.nan)],
)
def test_the_growth_rate_is_infinite_after_an_overflow_and_nan_if_not_recorded(tmp_path, growth, layer, expected):
    leave_run(tmp_path, "a", config_of(), growth=growth, first_nonfinite_layer=layer)
    row = only_row(tmp_path)
    assert row[["growth_rate", "log_growth"]].tolist() == pytest.approx([expected, 4 * abs(expected)], nan_ok=True)
    assert np.isnan(row["layer_variance"]) == (growth is None)


def test_a_directory_without_runs_and_a_damaged_list_of_jobs_are_errors(tmp_path):
    for text in (None, "{", "[]", json.dumps({"jobs": [{"directory": "a"}]})):
        if text:
            (tmp_path / "jobs.json").write_text(text)
        with pytest.raises(ValueError, match=r"SWEEP_DIRECTORY = .*: holds no runs|/jobs.json: unreadable or damaged"):
            sweep_table(tmp_path)
    with pytest.raises(ValueError, match=r"SWEEP_DIRECTORY = .*: no such directory"):
        sweep_table(tmp_path / "nowhere")
