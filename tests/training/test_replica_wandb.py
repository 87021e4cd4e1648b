"""Each run of a group leaves the offline W&B run that it would have left by itself."""

from pathlib import Path
from typing import Any

import pytest
import wandb

from tests.replica_jobs import DOUBLE, one_by_one, together
from tests.wandb_records import config_of, of_kind, records, tables_of, values

OWN_OF_A_PROCESS = ("_timestamp", "_runtime", "_wandb", "lengths.")  # and of a figure's file


def left(run: Path) -> dict[str, Any]:
    """What W&B was told, but for when, and for the hash of a figure's file."""
    found = records(run)
    first, rows = of_kind(found, "run")[0], [values(row.item) for row in of_kind(found, "history")]
    summaries = [*of_kind(found, "run"), *of_kind(found, "summary")]
    summary = values(item for each in summaries for item in getattr(each, "summary", each).update)
    kept = [
        {name: value for name, value in told.items() if not name.startswith(OWN_OF_A_PROCESS)}
        for told in (config_of(found), summary, *rows)
    ]
    return {
        "name": (first.project, first.run_group, first.display_name),
        "told": kept,
        "figures": sum("lengths._type" in row for row in rows),
        "tables": tables_of(found),
        "exit": [end.exit_code for end in of_kind(found, "exit")],
    }


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Alike but for rounding; what was added up in float32, in float32."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (mine, its) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, its, f"{where}[{index}]")
    else:
        assert one == (pytest.approx(other, rel=3e-7) if isinstance(one, float) else other), where


def test_runs_of_a_group_leave_the_wandb_runs_that_they_would_leave(config, tmp_path):
    each = (("seed=0",), ("seed=1", "optimizer.lr=1e200"))
    shared = (*DOUBLE, "trainer.max_epochs=2", "logger=wandb", "callbacks=start_of_training")
    configs = [config(*shared, *own) for own in each]
    ones, others = one_by_one(tmp_path / "one", configs), together(tmp_path / "group", configs)
    assert wandb.run is None
    for one, other in zip(ones, others, strict=True):
        assert_same(left(one), left(other))
    assert left(others[0])["name"] == ("how-to-start-training", "a-sweep", "run=0")
    assert len(left(others[0])["told"]) > 5
    with pytest.raises(AssertionError):
        assert_same(left(ones[0]), left(others[1]))
