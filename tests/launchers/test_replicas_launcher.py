"""The replicas launcher: the plan it prints, what it hands on to other launchers, what it returns, what it refuses."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from start_training.analysis.sweep_table import sweep_table
from start_training.cli import training_job
from start_training.launchers.replica_plan import ReplicaPlan, plan, shown_bytes
from start_training.launchers.replica_units import PREFIX
from start_training.models.fully_connected import FullyConnected
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.outcome import Interrupted
from start_training.runs.sweep_jobs import read_jobs
from start_training.training.train import train
from tests.launchers.test_sweep import sweep as sweep  # the fixture
from tests.signalling import SignalAtStep
from tests.small_runs import SMALL, composed
from tests.sweeps import left_over, statuses, summaries, untouched

REPLICAS = "hydra/launcher=replicas"


def test_the_plan_is_said_and_every_job_leaves_its_own_directory(sweep, tmp_path):
    status, output, errors = sweep(REPLICAS, "seed=0,1", "optimizer.lr=0.1,0.01", "model.depth=2,3")
    assert (status, errors) == (0, [])
    last = "2 4 FullyConnected 1,754 model.depth=3 seed (2), optimizer.lr (2) 803 kB 3.21 MB"
    assert " ".join(output[2].split()) == last
    sums = r"replicas: 8 jobs in 2 groups, at most 3.21 MB of [\d.]+ [GT]B, 0 on their own; by basic"
    assert re.fullmatch(sums, output[3])
    assert statuses(tmp_path / "sweep") == ["completed"] * 8
    assert left_over(tmp_path / "sweep") == []
    for job in read_jobs(tmp_path / "sweep"):
        run = RunDirectory(tmp_path / "sweep" / job.directory)
        assert run.summary()["config_hash"] == job.directory and "replicas" not in run.config()
        assert f"model.depth={run.config()['model']['depth']}" in job.overrides


def test_a_sweep_half_done_one_way_goes_on_the_other(sweep, tmp_path):
    for launcher, seeds, said in (
        ("basic", "0,1", ""),
        ("replicas", "0,1,2,3", "sweep sweep: 4 jobs, 2 finished before, 0 to go on with, 0 that failed, 2 new"),
        ("basic", "0,1,2,3,4", "sweep sweep: 5 jobs, 4 finished before, 0 to go on with, 0 that failed, 1 new"),
    ):
        before = untouched(tmp_path / "sweep") if said else {}
        status, output, _ = sweep(f"hydra/launcher={launcher}", f"seed={seeds}")
        assert status == 0 and said in (*output, "")
        assert before.items() <= untouched(tmp_path / "sweep").items()
    assert sorted(sweep_table(tmp_path / "sweep")["seed"]) == [0, 1, 2, 3, 4]


def test_a_mixed_sweep_trains_groups_of_the_size_that_was_asked_for_and_single_jobs(sweep, tmp_path):
    """Also by Hydra's own sweeper, and in directories named by what each job is."""
    name = "${seed}-${model.dropout}-${hydra.job.num}-${config_hash:}"
    asked = ("hydra.launcher.max_size=3", "hydra/sweeper=basic", f"hydra.sweep.subdir='{name}'")
    status, output, errors = sweep(REPLICAS, "seed=0,1,2,3,4", "model.dropout=0,0.1", *asked)
    assert (status, errors) == (0, [])
    assert [line.split()[:2] for line in output[1:3]] == [["1", "2"], ["2", "3"]]
    assert output[3].startswith("on its own: ") and "which are each run's own" in output[3]
    assert ", and 4 more" in output[3]
    assert output[4].startswith("replicas: 5 jobs in 2 groups") and "5 on their own" in output[4]
    found = summaries(tmp_path / "sweep")
    assert {summary["status"] for summary in found.values()} == {"completed"}
    for number, (seed, dropout) in enumerate((seed, dropout) for seed in range(5) for dropout in ("0", "0.1")):
        [directory] = [directory for directory in found if directory.startswith(f"{seed}-{dropout}-{number}-")]
        assert {f"seed={seed}", f"model.dropout={dropout}"} <= {*found[directory]["overrides"]}


def test_a_mistake_is_said_in_one_line_and_nothing_is_started(sweep, tmp_path, monkeypatch):
    forward = FullyConnected.forward
    monkeypatch.setattr(FullyConnected, "forward", lambda net, inputs: forward(net, inputs) * inputs.sum().item())
    inner = "hydra.launcher.inner"
    for settings, said in {
        "hydra.launcher.maximum=3": "hydra.launcher.maximum = 3: no such key; there are checkpoint_seconds, inner, ",
        f"{inner}=nothing": f"{inner} = nothing: no such launcher, or not installed; there are basic, joblib, ",
        f"{inner}=replicas": f"{inner} = replicas: must be another launcher; null is this",
        f"{inner}=slurm_ddp": f"{inner} = slurm_ddp: has nodes = 2; groups train in one",
        f"{inner}=process +hydra.launcher.settings.job=2": "hydra.launcher.settings.job = 2: process has jobs",
        f"{inner}=process +hydra.launcher.settings.jobs=0": "hydra.launcher.settings.jobs = 0: must be",
        "hydra.launcher.max_size=0": "hydra.launcher.max_size = 0: must be a whole number of at least 1",
        "hydra.launcher.checkpoint_seconds=-1": "hydra.launcher.checkpoint_seconds = -1: must be a number of at least",
        "trainer.gradient_clip_val=1": "trainer.gradient_clip_val = 1: clips a norm over all parameters",
        "model.depth=2": "model = FullyConnected: cannot be vectorized over replicas",
    }.items():
        status, output, [error] = sweep(REPLICAS, "seed=0,1", *settings.split())
        assert (status, output) == (1, []) and error.startswith(f"error: {said}")
    assert not summaries(tmp_path / "sweep") and not list(tmp_path.glob(f"sweep/{PREFIX}*"))


def test_the_sign_of_a_group_is_the_launchers_and_only_training_has_replicas(shell):
    status, _, errors = shell("train", *SMALL, "+replicas=true")
    assert (status, errors) == (1, ["error: replicas = True: is not for you to set; hydra/launcher=replicas does"])
    words = ("-m", REPLICAS, "model.depth=2,3", "hydra.sweep.dir=sweep")
    refusal = "error: hydra.launcher = replicas: trains nets together, and the command simulate trains none"
    assert shell("simulate", *words) == (1, [], [refusal])


@pytest.mark.parametrize("end", [RuntimeError("no luck"), Interrupted(15)], ids=["failed", "interrupted"])
def test_a_group_that_ends_before_its_jobs_could_say_anything(sweep, tmp_path, monkeypatch, end):
    """By an error, their failure; by a signal, the sweep's end, which says how to go on."""

    def ends(jobs: Sequence[Job], *, checkpoint_seconds: float) -> None:
        assert checkpoint_seconds == 7.5
        raise end

    monkeypatch.setattr(training_job, "train_group", ends)
    status, _, errors = sweep(REPLICAS, "seed=0,1", "hydra.launcher.checkpoint_seconds=7.5")
    if isinstance(end, Interrupted):
        assert (status, errors) == (128 + 15, ["interrupted", "go on: the same command with hydra.sweep.dir=sweep"])
    else:
        failed = [line for line in errors if line.startswith("failed: ")]
        assert (status, len(failed)) == (1, 2) and all("no luck" in line for line in failed)
    assert not list(tmp_path.glob(f"sweep/{PREFIX}*"))


def runs(sweep: Path, *overrides: str, seeds: int = 4) -> list[Job]:
    """Jobs of a sweep, a seed each, in directories named by it."""
    typed = [[*overrides, f"seed={seed}"] for seed in range(seeds)]
    return [Job(composed(*words), sweep / words[-1], overrides=words, sweep="sweep") for words in typed]


def sizes(planned: ReplicaPlan) -> list[int]:
    return [len(group.jobs) for group in planned.groups]


def test_jobs_are_grouped_by_where_they_stand_in_their_runs(tmp_path, monkeypatch):
    jobs = runs(tmp_path, seeds=6)
    with monkeypatch.context() as patch:
        for job, step in zip(jobs[:4], (17, 17, 11, 17), strict=False):
            patch.setattr("start_training.training.train.Divergence", lambda step=step: SignalAtStep(step))
            with pytest.raises(Interrupted):
                train(job)
    (tmp_path / "seed=3" / "checkpoints" / "last.ckpt").write_bytes(b"damaged")
    planned = plan(jobs)
    assert [([job.directory.name for job in group.jobs], group.start) for group in planned.groups] == [
        (["seed=0", "seed=1"], (1, 6, 17)),
        (["seed=4", "seed=5"], (0, 0, 0)),
    ]
    assert [job.directory.name for job, _ in planned.alone] == ["seed=3", "seed=2"]
    assert "is not a whole checkpoint" in planned.alone[0][1]
    assert planned.alone[1][1] == "no other job has its shapes and is at the same step"


def test_groups_hold_what_memory_holds(tmp_path):
    size = plan(runs(tmp_path)).groups[0].bytes
    assert sizes(plan(runs(tmp_path, seeds=7), limit=3 * size)) == [2, 2, 3]
    planned = plan(runs(tmp_path, seeds=3), limit=2 * size)
    assert (sizes(planned), [reason for _, reason in planned.alone]) == ([2], ["left over by groups of equal size"])
    planned = plan(runs(tmp_path), limit=2 * size - 1)
    assert not planned.groups and len(planned.alone) == 4
    assert planned.alone[0][1] == f"two replicas would take {shown_bytes(2 * size)}"


def test_every_worker_has_a_group_while_there_are_pairs(tmp_path):
    jobs = [*runs(tmp_path, seeds=6), *runs(tmp_path, "model.depth=2", seeds=4)]
    for workers, expected in ((1, [6, 4]), (2, [6, 4]), (3, [3, 3, 4]), (4, [3, 3, 2, 2]), (9, [2, 2, 2, 2, 2])):
        assert sizes(plan(jobs, workers=workers)) == expected


def test_a_config_that_no_net_can_be_built_of_is_left_to_its_jobs(tmp_path):
    planned = plan([*runs(tmp_path, "model.depth=0", seeds=2), *runs(tmp_path, seeds=2)])
    assert sizes(planned) == [2]
    assert [reason for _, reason in planned.alone] == ["model.depth = 0: must be a whole number of at least 1"] * 2
