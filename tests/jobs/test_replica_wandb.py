"""Each run of a group leaves the offline W&B run that it would have left by itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import wandb

from src.runs.directory import RunDirectory
from src.runs.outcome import Interrupted
from tests.jobs.replica_jobs import DOUBLE, one_by_one, together
from tests.jobs.test_replica_resume import signalled
from tests.jobs.test_wandb import records

OWN_OF_A_PROCESS = ("_timestamp", "_runtime", "_wandb")
SETTINGS = (*DOUBLE, "trainer.max_epochs=2", "logger=wandb")


def of_kind(found: list, kind: str) -> list:
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def values(items: Any) -> dict[str, Any]:
    read = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
    return {name: value for name, value in read.items() if not name.startswith(OWN_OF_A_PROCESS)}


def left(run: Path) -> dict[str, Any]:
    """What W&B was told, but for when, and for the hash of a figure's file."""
    found = records(run)
    [first, *_] = of_kind(found, "run")
    configs = [*(each.config for each in of_kind(found, "run")), *of_kind(found, "config")]
    rows = [values(row.item) for row in of_kind(found, "history")]
    summaries = [*(each.summary for each in of_kind(found, "run")), *of_kind(found, "summary")]
    artifacts = [r.request.log_artifact.artifact if r.WhichOneof("record_type") == "request" else r.artifact
                 for r in found if r.WhichOneof("record_type") == "artifact"]  # fmt: skip
    return {
        "name": (first.project, first.run_group, first.display_name),
        "config": {name: value for each in configs for name, value in values(each.update).items()},
        "rows": [{name: value for name, value in row.items() if "lengths" not in name} for row in rows],
        "figures": sum("lengths._type" in row for row in rows),
        "summary": {name: value for each in summaries for name, value in values(each.update).items()
                    if "lengths" not in name},
        "tables": sorted(entry.path for artifact in artifacts for entry in artifact.manifest.contents),
        "exit": [each.exit_code for each in of_kind(found, "exit")],
    }  # fmt: skip


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Alike but for rounding; what was added up in float32, in float32."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (each, its) in enumerate(zip(one, other, strict=True)):
            assert_same(each, its, f"{where}[{index}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=3e-7), where
    else:
        assert one == other, where


def test_runs_of_a_group_leave_the_wandb_runs_that_they_would_leave(config, tmp_path):
    each = (("seed=0",), ("seed=1", "optimizer.lr=1e200"))
    configs = [config(*SETTINGS, "callbacks=start_of_training", *own) for own in each]
    ones, others = one_by_one(tmp_path / "one", configs), together(tmp_path / "group", configs)
    assert wandb.run is None
    for one, other in zip(ones, others, strict=True):
        assert_same(left(one), left(other))
    assert left(others[0])["name"] == ("how-to-start-training", "a-sweep", "run=0")
    assert len(left(others[0])["rows"]) > 3
    with pytest.raises(AssertionError):
        assert_same(left(ones[0]), left(others[1]))


def test_one_attempt_is_one_wandb_run(config, tmp_path):
    configs = [config(*SETTINGS, f"seed={seed}") for seed in range(2)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        signalled(patch, 14)
        together(tmp_path, configs)
    assert [len(list((tmp_path / str(seed)).glob("wandb/offline-run-*"))) for seed in range(2)] == [1, 1]
    assert [left(tmp_path / str(seed))["exit"] for seed in range(2)] == [[130], [130]]
    together(tmp_path, configs)
    assert [len(list((tmp_path / str(seed)).glob("wandb/offline-run-*"))) for seed in range(2)] == [2, 2]
    assert [RunDirectory(tmp_path / str(seed)).state for seed in range(2)] == ["completed"] * 2
