"""The offline W&B run of each run of a group equals that of a single run."""

from pathlib import Path
from typing import Any

import pytest
import wandb

from tests.replica_jobs import DOUBLE, one_by_one, together
from tests.wandb_records import config_of, of_kind, records, tables_of, values

OWN_OF_A_PROCESS = ("_timestamp", "_runtime", "_wandb", "_step", "lengths.")  # and the file of the figure


def content_of(run: Path) -> dict[str, Any]:
    """The content of a W&B run, without times and the hash of the figure's file."""
    entries = records(run)
    first, rows = of_kind(entries, "run")[0], [values(row.item) for row in of_kind(entries, "history")]
    rows.sort(key=lambda row: (row.get("trainer/global_step", -1), sorted(row)))  # curves come when tables are written
    summaries = [*of_kind(entries, "run"), *of_kind(entries, "summary")]
    summary = values(item for record in summaries for item in getattr(record, "summary", record).update)
    logged = [
        {name: value for name, value in entry.items() if not name.startswith(OWN_OF_A_PROCESS)}
        for entry in (config_of(entries), summary, *rows)
    ]
    return {
        "name": (first.project, first.run_group, first.display_name, first.job_type, *first.tags),
        "logged": logged,
        "figures": sum("lengths._type" in row for row in rows),
        "tables": tables_of(entries),
        "exit": [end.exit_code for end in of_kind(entries, "exit")],
    }


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Assert equality up to rounding, of float32 for values accumulated in float32."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    else:
        assert one == (pytest.approx(other, rel=3e-7) if isinstance(one, float) else other), where


def test_runs_of_a_group_write_the_wandb_runs_of_single_runs(config, tmp_path):
    jobs = (("seed=0",), ("seed=1", "optimizer.lr=1e200"))
    shared = (*DOUBLE, "trainer.max_epochs=2", "logger=wandb", "callbacks=start_of_training")
    configs = [config(*shared, *job) for job in jobs]
    ones, others = one_by_one(tmp_path / "one", configs), together(tmp_path / "group", configs)
    assert wandb.run is None
    for one, other in zip(ones, others, strict=True):
        assert_same(content_of(one), content_of(other))
    assert content_of(others[0])["name"] == (
        "how-to-start-training", "a-sweep", "run=0", "train", "FullyConnected", "VarianceScaling, scale 2", "digits"
    )  # fmt: skip
    assert len(content_of(others[0])["logged"]) > 5
    with pytest.raises(AssertionError):
        assert_same(content_of(ones[0]), content_of(others[1]))
