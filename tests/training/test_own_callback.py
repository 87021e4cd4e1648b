"""A user's callback that implements the contracts is served as the project's own, on its own and in a group."""

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


def test_its_summary_and_why_it_stopped_are_the_runs(tmp_path, capsys):
    train(Job(config(), tmp_path / "one"))
    summary = RunDirectory(tmp_path / "one").summary()
    assert summary["reason"] == "2 norms are enough" and summary["epochs"] == 2 == len(summary["weight_norms"])
    assert "test/accuracy" in summary["metrics"]
    assert f"after 2 epochs: weight norm {summary['weight_norms'][1]:.3f}\n" in capsys.readouterr().out
    train(Job(config(), tmp_path / "two", sweep="a-sweep"))
    assert f", weight norm {summary['weight_norms'][1]:.3f}; 22 steps" in capsys.readouterr().out


def test_one_that_ends_runs_before_training_may_have_them_left_untested(tmp_path, monkeypatch):
    monkeypatch.setattr(WeightNorm, "tested_after_stop", False, raising=False)
    train(Job(config(), tmp_path))
    assert "test/accuracy" not in RunDirectory(tmp_path).summary()["metrics"]


def test_a_group_serves_it_as_a_trainer_does(tmp_path):
    assert issubclass(WeightNorm, GroupCallback) and not issubclass(WeightNorm.__base__, GroupCallback)
    configs = [config("seed=0"), config("seed=1", "optimizer.lr=0.1")]
    assert [ungroupable_reason(each) for each in configs] == [None, None]
    runs = together(tmp_path / "group", configs)
    assert_same_runs(one_by_one(tmp_path / "one", configs), runs)
    assert [RunDirectory(run).summary()["reason"] for run in runs] == ["2 norms are enough"] * 2


def test_one_that_changes_only_hooks_of_a_trainer_trains_alone():
    assert not serves_groups(Loud) and not serves_groups(print)
    assert ungroupable_reason(config(kind=Loud)) == "callbacks.own = Loud: does not support groups"


def test_what_it_cannot_work_with_is_refused_before_training():
    with pytest.raises(ValueError, match=r"epochs = 1000: more than a batch$"):
        check_settings(config(epochs=1000))
