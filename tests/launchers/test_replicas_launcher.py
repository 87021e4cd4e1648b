"""The replicas launcher: its printed plan, its groups and single jobs, its results, and its error messages."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from start_training.analysis.sweep_table import sweep_table
from start_training.cli import training_job
from start_training.launchers.replica_plan import ReplicaPlan, format_bytes, plan
from start_training.launchers.replica_units import PREFIX
from start_training.models.fully_connected import FullyConnected
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.sweep_jobs import read_jobs
from start_training.stop_signals import Interrupted
from start_training.training.train import train
from tests.launchers.test_sweep import sweep as sweep  # the fixture
from tests.signalling import SignalAtStep
from tests.small_runs import SMALL, composed
from tests.sweeps import left_over, statuses, summaries, untouched

REPLICAS = "hydra/launcher=replicas"


def test_the_plan_is_printed_and_every_job_writes_its_own_directory(sweep, tmp_path):
    status, output, errors = sweep(REPLICAS, "seed=0,1", "optimizer.lr=0.1,0.01", "model.depth=2,3")
    assert (status, errors) == (0, [])
    last = "2 4 FullyConnected 1,754 model.depth=3 seed (2), optimizer.lr (2) 803 kB 3.21 MB"
    assert " ".join(output[3].split()) == last
    totals = r"replicas: 8 jobs in 2 groups, at most 3.21 MB per group \(limit [\d.]+ [GT]B\); 0 jobs on their own; "
    assert re.fullmatch(totals + "launched by hydra/launcher=basic", output[4])
    assert statuses(tmp_path / "sweep") == ["completed"] * 8
    assert left_over(tmp_path / "sweep") == []
    for directory, overrides in read_jobs(tmp_path / "sweep").items():
        run = RunDirectory(tmp_path / "sweep" / directory)
        assert run.summary()["config_hash"] == directory and "replicas" not in run.config()
        assert f"model.depth={run.config()['model']['depth']}" in overrides


def test_the_settings_that_an_experiment_adds_for_hydra_can_be_changed(shell, tmp_path):
    """Its config of the launcher is composed without the experiment, which alone has hydra.sweeper.params."""
    params = ('depth="2"', "initializer=he_normal", 'seed="0,1"')
    chosen = ("experiment=hanin_rolnick/figure_1b", "size=small", REPLICAS, "hydra.sweep.dir=sweep", "figure=null")
    small = ("datamodule=digits", "trainer.max_epochs=1", "logger=csv", "trainer.enable_progress_bar=false")
    status, output, errors = shell("train", *chosen, *small, *(f"hydra.sweeper.params.{value}" for value in params))
    assert (status, errors) == (0, [])
    assert any(line.startswith("replicas: 2 jobs in 1 group") for line in output)
    assert {RunDirectory(path.parent).config()["depth"] for path in (tmp_path / "sweep").glob("*/config.yaml")} == {2}


@pytest.mark.slow
def test_a_sweep_can_be_continued_with_another_launcher(sweep, tmp_path):
    for launcher, seeds, line in (
        ("basic", "0,1", ""),
        ("replicas", "0,1,2,3", "sweep sweep: 4 jobs, 2 already finished, 0 to resume, 0 failed before, 2 new"),
        ("basic", "0,1,2,3,4", "sweep sweep: 5 jobs, 4 already finished, 0 to resume, 0 failed before, 1 new"),
    ):
        before = untouched(tmp_path / "sweep") if line else {}
        status, output, _ = sweep(f"hydra/launcher={launcher}", f"seed={seeds}")
        assert status == 0 and line in (*output, "")
        assert before.items() <= untouched(tmp_path / "sweep").items()
    assert sorted(sweep_table(tmp_path / "sweep")["seed"]) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_mixed_sweep_trains_groups_of_the_maximum_size_and_single_jobs(sweep, tmp_path):
    """Uses Hydra's basic sweeper, and directories named by settings and job numbers."""
    name = "${seed}-${model.dropout}-${hydra.job.num}-${config_hash:}"
    settings = ("hydra.launcher.max_size=3", "hydra/sweeper=basic", f"hydra.sweep.subdir='{name}'")
    status, output, errors = sweep(REPLICAS, "seed=0,1,2,3,4", "model.dropout=0,0.1", *settings)
    assert (status, errors) == (0, [])
    assert [line.split()[:2] for line in output[2:4]] == [["1", "2"], ["2", "3"]]
    assert output[4].startswith("trains on its own: ") and "needs its own random stream" in output[4]
    assert ", and 4 more" in output[4]
    assert output[5].startswith("replicas: 5 jobs in 2 groups") and "5 jobs on their own" in output[5]
    runs = summaries(tmp_path / "sweep")
    assert {summary["status"] for summary in runs.values()} == {"completed"}
    for number, (seed, dropout) in enumerate((seed, dropout) for seed in range(5) for dropout in ("0", "0.1")):
        [directory] = [directory for directory in runs if directory.startswith(f"{seed}-{dropout}-{number}-")]
        assert {f"seed={seed}", f"model.dropout={dropout}"} <= {*runs[directory]["overrides"]}


def test_an_invalid_setting_is_reported_in_one_line_and_no_job_starts(sweep, tmp_path, monkeypatch):
    forward = FullyConnected.forward
    monkeypatch.setattr(FullyConnected, "forward", lambda net, inputs: forward(net, inputs) * inputs.sum().item())
    inner = "hydra.launcher.inner"
    for settings, message in {
        "hydra.launcher.maximum=3": "hydra.launcher.maximum = 3: no such key; must be one of checkpoint_seconds, ",
        f"{inner}=nothing": f"{inner} = nothing: no such launcher, or not installed; must be one of basic, joblib, ",
        f"{inner}=replicas": f"{inner} = replicas: must be a launcher that does not train replicas itself",
        f"{inner}=slurm_ddp": f"{inner} = slurm_ddp: its setting nodes is 2, but a group trains in one process",
        f"{inner}=process +hydra.launcher.settings.job=2": "hydra.launcher.settings.job = 2: no such setting of ",
        f"{inner}=process +hydra.launcher.settings.jobs=0": "hydra.launcher.settings.jobs = 0: must be",
        "hydra.launcher.max_size=0": "hydra.launcher.max_size = 0: must be a whole number of at least 1",
        "hydra.launcher.checkpoint_seconds=-1": "hydra.launcher.checkpoint_seconds = -1: must be a number of at least",
        "trainer.gradient_clip_val=1": "trainer.gradient_clip_val = 1: hydra/launcher=replicas cannot",
        "model.depth=2": "model = FullyConnected: cannot be vectorized over replicas",
    }.items():
        status, output, [error] = sweep(REPLICAS, "seed=0,1", *settings.split())
        assert (status, output) == (1, []) and error.startswith(f"error: {message}")
    assert not summaries(tmp_path / "sweep") and not list(tmp_path.glob(f"sweep/{PREFIX}*"))


def test_a_job_with_a_mistake_of_its_own_stops_no_other_job(sweep, tmp_path):
    status, _, errors = sweep(REPLICAS, "depth=null,5", "seed=0,1")
    assert status == 1 and sum("depth = 5: only used with" in line for line in errors) >= 2
    assert sorted(summary["status"] for summary in summaries(tmp_path / "sweep").values()) == ["completed"] * 2


def test_users_cannot_set_replicas_and_only_train_supports_the_launcher(shell):
    status, _, errors = shell("train", *SMALL, "+replicas=true")
    reserved = "replicas = True: reserved for internal use; to train replicas, type hydra/launcher=replicas"
    assert (status, errors) == (1, [f"error: {reserved}"])
    words = ("-m", REPLICAS, "model.depth=2,3", "hydra.sweep.dir=sweep")
    message = "error: hydra.launcher = replicas: only the command train supports it, not simulate"
    assert shell("simulate", *words) == (1, [], [message])


@pytest.mark.parametrize("end", [RuntimeError("no luck"), Interrupted(15)], ids=["failed", "interrupted"])
def test_a_group_that_ends_before_its_jobs_have_written_anything(sweep, tmp_path, monkeypatch, end):
    """After an error its jobs count as failed; after a signal the sweep ends and prints how to resume."""

    def ends(jobs: Sequence[Job], *, checkpoint_seconds: float) -> None:
        assert checkpoint_seconds == 7.5
        raise end

    monkeypatch.setattr(training_job, "train_group", ends)
    status, _, errors = sweep(REPLICAS, "seed=0,1", "hydra.launcher.checkpoint_seconds=7.5")
    if isinstance(end, Interrupted):
        assert (status, errors) == (
            128 + 15,
            ["interrupted", "to resume: repeat the command with hydra.sweep.dir=sweep"],
        )
    else:
        failed = [line for line in errors if line.startswith("failed: ")]
        assert (status, len(failed)) == (1, 2) and all("no luck" in line for line in failed)
    assert not list(tmp_path.glob(f"sweep/{PREFIX}*"))


def runs(sweep: Path, *overrides: str, seeds: int = 4) -> list[Job]:
    """Return the jobs of a sweep over seeds, in directories named by the seed."""
    jobs = [[*overrides, f"seed={seed}"] for seed in range(seeds)]
    return [Job(composed(*words), sweep / words[-1], overrides=words, sweep="sweep") for words in jobs]


def sizes(planned: ReplicaPlan) -> list[int]:
    return [len(group.jobs) for group in planned.groups]


def test_jobs_are_grouped_by_the_step_of_their_checkpoints(tmp_path, monkeypatch, capsys):
    jobs = runs(tmp_path, seeds=6)
    with monkeypatch.context() as patch:
        for job, step in zip(jobs[:4], (17, 17, 11, 17), strict=False):
            patch.setattr("start_training.training.train.Divergence", lambda _, step=step: SignalAtStep(step))
            with pytest.raises(Interrupted):
                train(job)
    for checkpoint in ("last.ckpt", "previous.ckpt"):
        (tmp_path / "seed=3" / "checkpoints" / checkpoint).write_bytes(b"damaged")
    planned = plan(jobs)
    assert [([job.directory.name for job in group.jobs], group.start) for group in planned.groups] == [
        (["seed=0", "seed=1"], (1, 6, 17)),
        (["seed=3", "seed=4", "seed=5"], (0, 0, 0)),
    ]
    assert "damaged one (BadZipFile: File is not a zip file); beginning anew" in capsys.readouterr().err
    assert [job.directory.name for job, _ in planned.single_jobs] == ["seed=2"]
    assert planned.single_jobs[0][1] == "no other job has the same shapes and starts at the same step"


def test_memory_limits_the_size_of_groups(tmp_path):
    size = plan(runs(tmp_path)).groups[0].bytes
    assert sizes(plan(runs(tmp_path, seeds=7), limit=3 * size)) == [2, 2, 3]
    planned = plan(runs(tmp_path, seeds=3), limit=2 * size)
    assert (sizes(planned), [reason for _, reason in planned.single_jobs]) == (
        [2],
        ["left over after dividing the jobs into groups of equal size"],
    )
    planned = plan(runs(tmp_path), limit=2 * size - 1)
    assert not planned.groups and len(planned.single_jobs) == 4
    assert planned.single_jobs[0][1] == f"two replicas would need {format_bytes(2 * size)} of memory"


def test_groups_are_divided_among_workers_while_each_part_has_two_jobs(tmp_path):
    jobs = [*runs(tmp_path, seeds=6), *runs(tmp_path, "model.depth=2", seeds=4)]
    for workers, expected in ((1, [6, 4]), (2, [6, 4]), (3, [3, 3, 4]), (4, [3, 3, 2, 2]), (9, [2, 2, 2, 2, 2])):
        assert sizes(plan(jobs, workers=workers)) == expected


def test_jobs_whose_net_cannot_be_built_train_on_their_own(tmp_path):
    planned = plan([*runs(tmp_path, "model.depth=0", seeds=2), *runs(tmp_path, seeds=2)])
    assert sizes(planned) == [2]
    assert [reason for _, reason in planned.single_jobs] == [
        "model.depth = 0: must be a whole number of at least 1"
    ] * 2
