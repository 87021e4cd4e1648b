"""The replicas launcher: the plan it prints, what it hands on to other launchers, what it returns, what it refuses."""

import re
from collections.abc import Iterator, Sequence

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext

from scripts.simulate import main as simulate
from scripts.train import main
from src.jobs import hydra_job
from src.jobs.process_tree import check_launcher
from src.jobs.record import Job
from src.jobs.replica_plan import Plan, SweepRun, plan, shown_bytes
from src.jobs.replica_report import show
from src.jobs.replica_units import PREFIX
from src.jobs.replicas import Replicas
from src.jobs.train import train
from src.runs.directory import RunDirectory
from src.runs.outcome import Interrupted
from src.runs.sweep import read_jobs
from src.runs.sweep_table import sweep_table
from tests.jobs.conftest import CONF, SMALL
from tests.jobs.signalling import SignalAtStep
from tests.jobs.sweeps import SCRIPT, left_over, statuses, summaries, untouched
from tests.jobs.test_sweep import sweep as sweep  # the fixture

REPLICAS = "hydra/launcher=replicas"


def test_the_plan_is_said_and_every_job_leaves_its_own_directory(sweep, tmp_path, monkeypatch):
    """The sweeper and the launcher share what they compose: 42 ms a job, which hundreds would wait for twice."""
    monkeypatch.delattr("src.jobs.replicas.composed_job")
    status, output, errors = sweep(REPLICAS, "seed=0,1", "optimizer.lr=0.1,0.01", "model.depth=2,3")
    assert (status, errors) == (0, [])
    assert [" ".join(line.split()) for line in output[:3]] == [
        "group jobs net parameters all with each its own a replica together",
        "1 4 FullyConnected 1,482 model.depth=2 seed (2), optimizer.lr (2) 798 kB 3.19 MB",
        "2 4 FullyConnected 1,754 model.depth=3 seed (2), optimizer.lr (2) 803 kB 3.21 MB",
    ]
    assert max(map(len, output[:4])) <= 110
    sums = r"replicas: 8 jobs in 2 groups, at most 3.21 MB of [\d.]+ [GT]B, 0 on their own; by basic"
    assert re.fullmatch(sums, output[3])
    assert statuses(tmp_path / "sweep") == ["completed"] * 8
    assert left_over(tmp_path / "sweep") == []
    for job in read_jobs(tmp_path / "sweep"):
        run = RunDirectory(tmp_path / "sweep" / job.directory)
        assert run.summary()["overrides"] == list(job.overrides)
        assert run.summary()["config_hash"] == job.directory
        assert f"model.depth={run.config()['model']['depth']}" in job.overrides
        assert "replicas" not in run.config()


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


def test_what_cannot_be_grouped_runs_on_its_own_and_the_plan_says_why(sweep, tmp_path):
    quick = ("callbacks=range_test", "callbacks.range_test.steps=20", "callbacks.range_test.val_points=3")
    for overrides, why in (
        (quick, "(callbacks.range_test = RangeTest: needs a trainer of its own)"),
        (("model.dropout=0.1",), "which are each run's own"),
    ):
        status, output, errors = sweep(REPLICAS, "seed=0,1", *overrides)
        assert (status, errors) == (0, [])
        assert output[0].startswith("on its own: ") and why in output[0] and ", and 1 more" in output[0]
        assert output[1] == "replicas: 0 jobs in 0 groups, 2 on their own; by basic"
    assert statuses(tmp_path / "sweep") == ["completed"] * 4


def test_a_mixed_sweep_trains_groups_of_the_size_that_was_asked_for_and_single_jobs(sweep, tmp_path):
    """Also by Hydra's own sweeper."""
    jobs = ("seed=0,1,2,3,4", "model.dropout=0,0.1", "hydra.launcher.max_size=3")
    status, output, errors = sweep(REPLICAS, *jobs, "hydra/sweeper=basic")
    assert (status, errors) == (0, [])
    assert [line.split()[:2] for line in output[1:3]] == [["1", "2"], ["2", "3"]]
    assert output[3].startswith("on its own") and output[4].startswith("replicas: 5 jobs in 2 groups")
    assert "5 on their own" in output[4]
    assert statuses(tmp_path / "sweep") == ["completed"] * 10


MISTAKES = {
    ("inner=3",): "hydra.launcher.inner = 3: must be the name of a launcher",
    ("inner=nothing",): "hydra.launcher.inner = nothing: no such launcher, or not installed; "
    "there are basic, joblib, process, slurm_ddp, slurm_gpu, submitit_local, submitit_slurm",
    ("inner=replicas",): "hydra.launcher.inner = replicas: must be another launcher; null is this",
    ("inner=slurm_ddp",): "hydra.launcher.inner = slurm_ddp: has nodes = 2; groups train in one",
    ("inner=process", "settings.job=2"): "hydra.launcher.settings.job = 2: process has jobs",
    ("settings.jobs=2",): "hydra.launcher.settings.jobs = 2: basic has no settings",
    ("inner=process", "settings.jobs=0"): "hydra.launcher.settings.jobs = 0: must be",
    ("inner=joblib", "settings.n_jobs=0"): "hydra.launcher.settings.n_jobs = 0: must",
    ("max_size=0",): "hydra.launcher.max_size = 0: must be a whole number of at least 1",
    ("max_size=many",): "hydra.launcher.max_size = 'many': must be a whole number",
    ("checkpoint_seconds=-1",): "hydra.launcher.checkpoint_seconds = -1: must be a number of at least 0",
    ("settings=2",): "hydra.launcher.settings = 2: must be",
}


@pytest.fixture
def context() -> Iterator[HydraContext]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=None)


@pytest.mark.parametrize("overrides", MISTAKES, ids=" ".join)
def test_a_mistake_of_the_launchers_names_its_setting(context, overrides):
    settings = [f"{'+' * ('settings.' in override)}hydra.launcher.{override}" for override in overrides]
    config = compose("train", [REPLICAS, "hydra.job.name=train", *settings], return_hydra_config=True)
    with pytest.raises(ValueError, match=f"^{re.escape(MISTAKES[overrides])}"):
        Replicas.of(config, context, main)


def test_a_mistake_is_said_in_one_line_and_nothing_is_started(sweep, tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "import torch\n"
        "class Looking(torch.nn.Linear):\n"
        "    def __init__(self, input_size, classes, **others):\n"
        "        super().__init__(input_size, classes)\n"
        "    def forward(self, inputs):\n"
        "        return super().forward(inputs.flatten(1)) * inputs.sum().item()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for setting, said in (
        ("hydra.launcher.maximum=3", "hydra.launcher.maximum = 3: no such key; there are checkpoint_seconds, inner, "),
        ("model._target_=my_nets.Looking", "model = Looking: cannot be vectorized over replicas"),
    ):
        status, output, [error] = sweep(REPLICAS, "seed=0,1", setting)
        assert (status, output) == (1, [])
        assert error.startswith(f"error: {said}")
        assert not summaries(tmp_path / "sweep") and not list(tmp_path.glob(f"sweep/{PREFIX}*"))


def test_what_one_device_and_one_norm_cannot_give_is_refused():
    launcher = {"_target_": "hydra_plugins.how_to_start_training.ReplicasLauncher"}
    with pytest.raises(ValueError, match=r"trainer.devices = 2: hydra/launcher=replicas trains many nets on one"):
        check_launcher({"devices": 2, "strategy": "ddp"}, launcher)
    with pytest.raises(ValueError, match=r"trainer.gradient_clip_val = 1: clips a norm over all parameters"):
        check_launcher({"gradient_clip_val": 1}, launcher)


def test_the_sign_of_a_group_is_the_launchers_and_only_training_has_replicas(shell):
    status, _, errors = shell(SCRIPT, main, *SMALL, "+replicas=true")
    assert (status, errors) == (1, ["error: replicas = True: is not for you to set; hydra/launcher=replicas does"])
    words = ("-m", REPLICAS, "model.depth=2,3", "hydra.sweep.dir=sweep")
    status, _, [error] = shell(SCRIPT.with_name("simulate.py"), simulate, *words)
    assert (status, error) == (
        1,
        "error: hydra.launcher = replicas: trains nets together, and scripts/simulate.py trains none",
    )


def test_a_job_that_fails_stops_no_other_and_what_was_said_is_returned(sweep, tmp_path):
    """In a group of the same shapes one rate is a mistake."""
    status, _, errors = sweep(REPLICAS, "seed=0,1", "optimizer.lr=0.1,-1")
    assert status == 1
    assert statuses(tmp_path / "sweep") == ["completed", "completed", "failed", "failed"]
    failed = [line for line in errors if line.startswith("failed: ")]
    assert len(failed) == 2 and all("optimizer.lr = -1" in line for line in failed)
    assert "Traceback" not in "".join(errors)


@pytest.mark.parametrize("end", [RuntimeError("no luck"), Interrupted(15)], ids=["failed", "interrupted"])
def test_a_group_that_ends_before_its_jobs_could_say_anything(sweep, tmp_path, monkeypatch, end):
    """By an error, their failure; by a signal, the sweep's end, which says how to go on."""

    def ends(jobs: Sequence[Job], *, checkpoint_seconds: float) -> None:
        assert checkpoint_seconds == 7.5
        train(jobs[0])
        raise end

    monkeypatch.setattr(hydra_job, "train_group", ends)
    status, _, errors = sweep(REPLICAS, "seed=0,1", "model.depth=2,3", "hydra.launcher.checkpoint_seconds=7.5")
    assert status == (128 + 15 if isinstance(end, Interrupted) else 1)
    if isinstance(end, Interrupted):
        assert errors == ["interrupted", "go on: the same command with hydra.sweep.dir=sweep"]
    failed = [line for line in errors if line.startswith("failed: ")]
    assert len(failed) == (0 if isinstance(end, Interrupted) else 2) and all("no luck" in line for line in failed)
    assert {*statuses(tmp_path / "sweep")} == {"completed"}
    assert not list(tmp_path.glob(f"sweep/{PREFIX}*"))


@pytest.fixture
def runs(config):
    """Jobs of a sweep, a seed each, named by it."""

    def made(*overrides: str, seeds: int = 4) -> list[SweepRun]:
        each = [[*overrides, f"seed={seed}"] for seed in range(seeds)]
        return [SweepRun(own, own[-1], own, config(*own)) for own in each]

    return made


def sizes(planned: Plan) -> list[int]:
    return [len(group.jobs) for group in planned.groups]


def test_jobs_are_grouped_by_where_they_stand_in_their_runs(runs, tmp_path, monkeypatch):
    jobs = runs(seeds=6)
    with monkeypatch.context() as patch:
        for job, step in zip(jobs[:4], (17, 17, 11, 17), strict=False):
            patch.setattr("src.jobs.train.Divergence", lambda step=step: SignalAtStep(step))
            with pytest.raises(Interrupted):
                train(Job(job.config, tmp_path / job.directory, sweep="sweep"))
    (tmp_path / "seed=3" / "checkpoints" / "last.ckpt").write_bytes(b"damaged")
    planned = plan(jobs, tmp_path)
    assert [([job.directory for job in group.jobs], group.start) for group in planned.groups] == [
        (["seed=0", "seed=1"], (1, 6, 17)),
        (["seed=4", "seed=5"], (0, 0, 0)),
    ]
    assert [job.directory for job, _ in planned.alone] == ["seed=3", "seed=2"]
    assert "is not a whole checkpoint" in planned.alone[0][1]
    assert planned.alone[1][1] == "no other job has its shapes and stands where it does"


def test_groups_hold_what_memory_holds(runs, tmp_path):
    size = plan(runs(), tmp_path).groups[0].bytes
    assert sizes(plan(runs(seeds=7), tmp_path, limit=3 * size)) == [2, 2, 3]
    planned = plan(runs(seeds=3), tmp_path, limit=2 * size)
    assert (sizes(planned), [reason for _, reason in planned.alone]) == ([2], ["left over by groups of equal size"])
    planned = plan(runs(), tmp_path, limit=2 * size - 1)
    assert not planned.groups and len(planned.alone) == 4
    assert planned.alone[0][1] == f"two replicas would take {shown_bytes(2 * size)}"


@pytest.mark.parametrize(
    ("workers", "expected"), [(1, [6, 4]), (2, [6, 4]), (3, [3, 3, 4]), (4, [3, 3, 2, 2]), (9, [2, 2, 2, 2, 2])]
)
def test_every_worker_has_a_group_while_there_are_pairs(runs, tmp_path, workers, expected):
    jobs = [*runs(seeds=6), *runs("model.depth=2", seeds=4)]
    assert sizes(plan(jobs, tmp_path, workers=workers)) == expected


def test_a_config_that_no_net_can_be_built_of_is_left_to_its_jobs(runs, tmp_path):
    planned = plan([*runs("model.depth=0", seeds=2), *runs(seeds=2)], tmp_path)
    assert sizes(planned) == [2]
    assert [reason for _, reason in planned.alone] == ["model.depth = 0: must be a whole number of at least 1"] * 2
    scaled = ("model=residual", "model.modules=2", "model.scales=constant")
    planned = plan([job for eta in (1, 0.5, 0) for job in runs(*scaled, f"model.eta={eta}", seeds=1)], tmp_path)
    assert sizes(planned) == [2]  # of one kind, too
    assert [reason.partition(":")[0] for _, reason in planned.alone] == ["model.eta = 0"]


def test_directories_that_are_named_by_their_jobs_are_so(sweep, tmp_path):
    """Also where jobs run on their own, and in another order than they were asked for."""
    name = "${seed}-${model.dropout}-${hydra.job.num}-${config_hash:}"
    status, _, errors = sweep(REPLICAS, "seed=0,1", "model.dropout=0,0.2", f"hydra.sweep.subdir='{name}'")
    assert (status, errors) == (0, [])
    jobs = read_jobs(tmp_path / "sweep")
    assert len(jobs) == 4
    for number, job in enumerate(jobs):
        run = RunDirectory(tmp_path / "sweep" / job.directory)
        config, summary = run.config(), run.summary()
        assert (summary["status"], summary["overrides"]) == ("completed", list(job.overrides))
        assert job.directory == f"{config['seed']}-{config['model']['dropout']}-{number}-{summary['config_hash']}"


def test_a_plan_of_many_groups_is_a_table_of_some(runs, capsys, tmp_path):
    planned = plan(runs(), tmp_path)
    show(Plan(10**9, planned.groups * 30, planned.alone), inner="process", workers=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 24 + 1 + 1
    assert lines[-2] == "… and 6 more groups"
    assert lines[-1].startswith("replicas: 120 jobs in 30 groups, at most 3.21 MB of 1 GB, 0 on their own; by process")
    assert max(map(len, lines)) <= 110


def test_bytes_are_three_digits_and_a_unit():
    shown = {0: "0 B", 999: "999 B", 1_234_000: "1.23 MB", 999_400: "999 kB", 999_700: "1 MB"}
    assert {size: shown_bytes(size) for size in shown} == shown
