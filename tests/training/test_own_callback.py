"""A custom callback that implements the contracts works like the project's callbacks, also in a group."""

import pytest

from start_training.callbacks.contracts import GroupCallback, serves_groups
from start_training.launchers.grouping import ungroupable_reason
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.train import check_settings, train
from tests.own_callback import Loud, WeightNorm
from tests.replica_jobs import assert_same_runs, one_by_one, together
from tests.small_runs import composed


def config(*overrides: str, kind: type = WeightNorm, epochs: int = 2) -> dict:
    own = {"_target_": f"{kind.__module__}.{kind.__name__}", "epochs": epochs}
    return composed("trainer.precision=64-true", *overrides) | {"callbacks": {"own": own}}


def test_summary_and_reason_of_a_custom_callback_are_part_of_the_runs_summary(tmp_path, capsys):
    train(Job(config(), tmp_path / "one"))
    summary = RunDirectory(tmp_path / "one").summary()
    assert summary["reason"] == "2 norms are enough" and summary["epochs"] == 2 == len(summary["weight_norms"])
    assert "test/accuracy" in summary["metrics"]
    assert f"after 2 epochs: weight norm {summary['weight_norms'][1]:.3f}\n" in capsys.readouterr().out
    train(Job(config(), tmp_path / "two", sweep="a-sweep"))
    assert f", weight norm {summary['weight_norms'][1]:.3f}; 22 steps" in capsys.readouterr().out


def test_a_callback_can_stop_a_run_so_that_it_is_not_tested(tmp_path, monkeypatch):
    monkeypatch.setattr(WeightNorm, "tested_after_stop", False, raising=False)
    train(Job(config(), tmp_path))
    assert "test/accuracy" not in RunDirectory(tmp_path).summary()["metrics"]


def test_a_custom_callback_works_in_a_group_as_with_a_trainer(tmp_path):
    assert issubclass(WeightNorm, GroupCallback) and not issubclass(WeightNorm.__base__, GroupCallback)
    configs = [config("seed=0"), config("seed=1", "optimizer.lr=0.1")]
    assert [ungroupable_reason(config) for config in configs] == [None, None]
    runs = together(tmp_path / "group", configs)
    assert_same_runs(one_by_one(tmp_path / "one", configs), runs)
    assert [RunDirectory(run).summary()["reason"] for run in runs] == ["2 norms are enough"] * 2


def test_a_subclass_that_overrides_only_hooks_is_not_trained_in_a_group():
    assert not serves_groups(Loud) and not serves_groups(print)
    assert serves_groups(type("Derived", (WeightNorm,), {}))
    assert not serves_groups(type("Private", (WeightNorm,), {"_measured": lambda self: 0.0}))
    assert ungroupable_reason(config(kind=Loud)) == "callbacks.own = Loud: does not support groups"


def test_settings_that_a_callback_refuses_are_reported_before_training():
    with pytest.raises(ValueError, match=r"epochs = 1000: more than a batch$"):
        check_settings(config(epochs=1000))
