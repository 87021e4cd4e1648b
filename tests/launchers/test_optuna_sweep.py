"""A search by Optuna: pruned while trials run, told in SQLite, and continued after a kill with no trial twice."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from start_training.runs.directory import RunDirectory
from start_training.tasks.merit import Merit
from start_training.training.optuna_trial import PRUNER, TrialReport, connect
from tests.small_runs import SMALL
from tests.sweeps import start, summaries, wait_for

SEARCH = (
    *SMALL,
    *("hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(1e-3,1))", "model.depth=range(1,3)", "model.width=4"),
    *("trainer.max_epochs=2", "callbacks=none"),
)
WITHOUT_PRUNING = "hydra.sweeper.pruner=null"
PRUNES_ALL = ("hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner", "+hydra.sweeper.pruner.upper=0.01",
              "~hydra.sweeper.pruner.n_startup_trials", "hydra.sweeper.pruner.n_warmup_steps=0")  # fmt: skip


def trials(directory: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="search", storage=f"sqlite:///{directory}/optuna.db").get_trials()


@pytest.fixture
def search(shell):
    def call(*words: str) -> tuple[int, list[str], list[str]]:
        return shell("train", "-m", *SEARCH, "hydra.sweep.dir=sweep", *words)

    return call


def test_a_search_tells_the_objective_of_each_trial_and_counts_finished_ones_when_started_again(search, tmp_path):
    status, output, errors = search("hydra.sweeper.n_trials=2", WITHOUT_PRUNING)
    assert (status, errors) == (0, []), errors
    first = trials(tmp_path / "sweep")
    objectives = {summary["objective"] for summary in summaries(tmp_path / "sweep").values()}
    assert {trial.value for trial in first} == objectives and len(objectives) == 2
    assert all(len(trial.intermediate_values) == 2 for trial in first)  # one at the end of each epoch
    assert "trials: 2 complete" in output
    [run] = [summary for summary in summaries(tmp_path / "sweep").values() if summary["trial"]["number"] == 1]
    assert run["trial"] == {"study": "search", "number": 1, "pruned": False}
    assert not any("trial" in word for word in run["overrides"])
    status, output, _ = search("hydra.sweeper.n_trials=3", WITHOUT_PRUNING)
    assert status == 0 and output[0] == "study search: 2 trials finished before, 0 to resume"
    assert [trial.params for trial in trials(tmp_path / "sweep")][:2] == [trial.params for trial in first]
    assert len(trials(tmp_path / "sweep")) == len(summaries(tmp_path / "sweep")) == 3


@pytest.mark.slow
def test_a_trial_that_is_pruned_ends_early_and_a_diverged_one_is_the_worst(search, tmp_path):
    assert search("hydra.sweeper.n_trials=1", *PRUNES_ALL)[0] == 0
    [trial] = trials(tmp_path / "sweep")
    [summary] = summaries(tmp_path / "sweep").values()
    assert trial.state == optuna.trial.TrialState.PRUNED and len(trial.intermediate_values) == 1
    assert summary["epochs"] == 1 and summary["reason"].startswith("pruned by Optuna after epoch 1: val/loss")
    huge = ("optimizer.lr=interval(1e36,1e37)", "hydra.sweep.dir=other")
    assert search("hydra.sweeper.n_trials=1", WITHOUT_PRUNING, *huge)[0] == 0
    assert trials(tmp_path / "other")[0].value == float("inf")


@pytest.mark.parametrize("stale, state", [("resume", "COMPLETE"), ("fail", "FAIL")])
def test_a_trial_that_was_left_running_is_resumed_or_failed(search, tmp_path, stale, state):
    (tmp_path / "sweep").mkdir()
    study = optuna.create_study(study_name="search", storage=f"sqlite:///{tmp_path}/sweep/optuna.db")
    ranges = {"optimizer.lr": optuna.distributions.FloatDistribution(1e-3, 1, log=True)}
    left = study.ask({**ranges, "model.depth": optuna.distributions.IntDistribution(1, 2)})
    status, output, _ = search("hydra.sweeper.n_trials=1", f"hydra.sweeper.stale={stale}", WITHOUT_PRUNING)
    assert status == 0 and output[0] == f"study search: 0 trials finished before, 1 to {stale}"
    [trial] = trials(tmp_path / "sweep")
    assert (trial.params, trial.state.name) == (left.params, state)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweeper.n_trials=0"], "error: hydra.sweeper.n_trials = 0: must be a whole number of at least 1"),
        (["hydra.sweeper.study=a/b"], "error: hydra.sweeper.study = 'a/b': must be a name of letters"),
        (["hydra.sweeper.storage=nothing"], "error: hydra.sweeper.storage = nothing: cannot be used"),
        (["hydra/launcher=replicas"], "error: hydra/launcher = replicas: cannot prune trials"),
        (["hydra.sweeper.sampler.n_trials=3"], "error: "),
        (["hydra/sweeper=resumable"], "error: optimizer.lr = tag(log,interval(1e-3,1)): a grid needs"),
    ],
)  # fmt: skip
def test_mistakes_in_a_search_are_said_in_one_line(search, words, message):
    status, _, errors = search(*words)
    assert status == 1 and len(errors) == 1 and errors[0].startswith(message)


@pytest.mark.parametrize("resumed_at", [0, 1])
def test_a_trial_killed_after_the_checkpoint_of_its_last_epoch_is_pruned_when_it_resumes(tmp_path, resumed_at):
    storage = f"sqlite:///{tmp_path}/optuna.db"
    study = connect(storage, "search", Merit())
    pruner = {"_target_": "optuna.pruners.ThresholdPruner", "upper": 0.01}
    study.set_user_attr(PRUNER, pruner)
    study.ask().report(2.3, 0)
    report = TrialReport(f"search:0@{storage}", Merit())
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)
    trainer = SimpleNamespace(is_global_zero=True, current_epoch=resumed_at, strategy=strategy, should_stop=False)
    report.on_train_start(trainer, None)  # at 0 the epoch is repeated, and prunes at its end
    assert (report.pruned_after, trainer.should_stop) == ((1, True) if resumed_at else (None, False))


@pytest.mark.slow
def test_a_search_killed_and_started_again_has_the_same_trials_as_an_undisturbed_one(tmp_path):
    prunes = ("hydra.sweeper.pruner.n_startup_trials=2", "hydra.sweeper.n_trials=5")
    words = (*SEARCH[len(SMALL) :], "trainer.max_epochs=8", *prunes)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole, *words).wait(timeout=200) == 0
    for done in (1, 3):
        process = start(cut, *words)

        def in_a_trial(done: int = done) -> bool:
            runs = [RunDirectory(path.parent) for path in cut.glob("*/config.yaml")]
            return len(runs) > done and any(run.checkpoint.exists() and run.state == "running" for run in runs)

        wait_for(in_a_trial)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        assert [trial.state.name for trial in trials(cut)].count("RUNNING") == 1
    finished = {path: path.stat().st_mtime_ns for path in cut.glob("*/summary.json")}
    assert start(cut, *words).wait(timeout=200) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())  # no finished trial ran again
    told = [[(trial.params, trial.state, trial.intermediate_values) for trial in trials(run)] for run in (whole, cut)]
    assert told[0] == told[1] and len(told[0]) == 5
    assert sorted(summaries(whole)) == sorted(summaries(cut))
