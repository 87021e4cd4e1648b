"""Runs that train as a group leave what their own runs leave, to rounding."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.jobs.command_line import Said
from src.replicas.batches import Batches
from src.replicas.first_layer import FirstLayer
from src.replicas.rates import Rates
from src.runs.directory import RunDirectory
from tests.jobs.replica_jobs import DOUBLE, assert_same_runs, checkpoint, deviations, differences, one_by_one, together

ADAMW = pytest.param("adamw", marks=pytest.mark.slow)
SEEDS = ("seed=0", "seed=1", "seed=2")
RATES = ("seed=0", "seed=1 optimizer.lr=0.003", "seed=1 initializer=lecun_normal optimizer.weight_decay=1e-3")
SCALES = ("seed=0 model.base=0.5", "seed=1 model.scales=inverse_depth", "seed=2 model.scales=[0.3,0.2,1.0]")
RESIDUAL = ("model=residual", "model.modules=3")
CONVOLUTIONAL = {"_target_": "src.models.convolutional.Convolutional", "depth": 2, "channels": 3}
SCALED = [CONVOLUTIONAL | {"residual": True, "scales": "constant", "eta": eta} for eta in (0.5, 1.0)]
LOOKING = "callbacks=start_of_training"
STOPPING = (LOOKING, "callbacks.start_of_training.stop=true", "callbacks.start_of_training.threshold=0.5")
# Weights that grow by a factor at every step: the loss overflows in the third epoch.
GROWING = "optimizer.weight_decay=700 optimizer.lr=0.003 optimizer.momentum=0"
DIVERGING = ("seed=0", f"seed=1 {GROWING}", "seed=2", "seed=3 optimizer.lr=1e200")


@pytest.fixture
def configs(config):
    """Of jobs that have some settings in common, each with some of its own."""

    def composed(*shared: str, each: tuple[str, ...]) -> list[dict]:
        return [config(*shared, *own.split()) for own in each]

    return composed


def statuses(runs: list[Path]) -> list[tuple[str, int]]:
    found = [RunDirectory(run).summary() for run in runs]
    return [(summary["status"], summary["steps"]) for summary in found]


@pytest.mark.parametrize(
    ("shared", "each"),
    [
        ((), RATES),
        (("optimizer.nesterov=true", "schedule=one_cycle"), ("seed=0", "seed=0 optimizer.momentum=0.5", "seed=1")),
        (("schedule=one_cycle", "schedule.momentum=[0.95,0.0]"), SEEDS[:2]),  # torch keeps no velocity where it is 0
        pytest.param(("+optimizer.dampening=0.2", "schedule=step"), RATES, marks=pytest.mark.slow),
        (
            ("+optimizer.maximize=true", "trainer.max_epochs=1"),
            ("seed=0 optimizer.lr=1e-5", "seed=1 optimizer.lr=1e-6"),
        ),
        (("optimizer=adamw", "schedule=one_cycle"), RATES),
        (("optimizer=adam", "+optimizer.decoupled_weight_decay=true"), RATES),
        (("optimizer=adam", "+optimizer.amsgrad=true"), ("seed=0", "seed=1 optimizer.betas=[0.5,0.9]", "seed=2")),
        pytest.param(("optimizer=adam", "schedule=triangular", "callbacks=none"), RATES, marks=pytest.mark.slow),
        (RESIDUAL, SCALES),
        pytest.param((*RESIDUAL, "optimizer=adamw"), SCALES, marks=pytest.mark.slow),
        (("datamodule.validation=0", LOOKING, "callbacks.lengths.every_n_steps=3"), SEEDS),
        ((LOOKING, "+callbacks.tests._target_=src.callbacks.test_metrics.TestMetrics"), SEEDS),
    ],
    ids=lambda settings: " ".join(settings) or "default",
)
def test_runs_of_a_group_are_the_runs_that_they_would_be(configs, tmp_path, shared, each):
    settings = configs(*DOUBLE, *shared, each=each)
    assert_same_runs(one_by_one(tmp_path / "one", settings), together(tmp_path / "group", settings))


def test_phases_of_a_group_are_those_of_its_runs(configs, tmp_path):
    shared = ("model=tanh_layer", "initializer=phase", "callbacks=phase", *DOUBLE)
    each = ("seed=0 initializer.J=0.7", "seed=1 optimizer.lr=0.1", "seed=2 optimizer.momentum=0")
    settings = configs(*shared, each=each)
    assert_same_runs(one_by_one(tmp_path / "one", settings), together(tmp_path / "group", settings))


@pytest.mark.parametrize(
    "models",
    [
        [CONVOLUTIONAL] * 2,
        SCALED,
        [{"_target_": "tests.replicas.nets.Normalized", "width": 9, "eta": eta} for eta in (1.0, 0.3)],
        [{"_target_": "tests.replicas.nets.InPlace"}] * 2,
        [{"_target_": "tests.replicas.nets.Patches"}] * 2,
        [{"_target_": "tests.replicas.nets.Frozen"}] * 2,
        pytest.param(
            [{"_target_": "tests.replicas.nets.Settled"}] * 2,
            marks=pytest.mark.filterwarnings("ignore:Found 1 module"),  # as Lightning says, "if this is intentional"
        ),
    ],
    ids=["convolutional", "residual convolutional", "normalized", "in place", "patches", "frozen", "settled"],
)
@pytest.mark.parametrize("optimizer", ["sgd", ADAMW])
def test_any_module_trains_in_a_group(configs, tmp_path, models, optimizer):
    settings = configs(*DOUBLE, f"optimizer={optimizer}", each=SEEDS[:2])
    settings = [{**its, "model": model} for its, model in zip(settings, models, strict=True)]
    assert_same_runs(one_by_one(tmp_path / "one", settings), together(tmp_path / "group", settings))


RANDOM = ("datamodule=random_inputs", "datamodule.input_size=12", "datamodule.samples=704")


def test_a_loss_that_is_no_number_on_some_of_a_test_set_is_none(configs, tmp_path):
    shared = (*DOUBLE, *RANDOM, "datamodule.test_samples=2500", "callbacks=none")
    settings = [{**its, "model": {"_target_": "tests.replicas.nets.Rooted"}} for its in configs(*shared, each=SEEDS)]
    ones = one_by_one(tmp_path / "one", settings)
    assert_same_runs(ones, together(tmp_path / "group", settings))
    assert [RunDirectory(run).summary()["metrics"]["test/loss"] for run in ones] == [None] * 3


def test_data_drawn_from_the_processs_stream_are_those_of_the_runs(configs, tmp_path, monkeypatch):
    """Of which a net like this one draws before them."""
    shared = (*DOUBLE, *RANDOM, "datamodule._target_=tests.replicas.datamodules.Drawn")
    model = {"_target_": "tests.replicas.nets.Normalized"}
    settings = [{**its, "model": model} for its in configs(*shared, each=SEEDS[:1] * 2)]
    ones = one_by_one(tmp_path / "one", settings[:1])
    monkeypatch.setattr("src.jobs.train._loaded", [])  # as in another process
    assert_same_runs(ones, together(tmp_path / "group", settings)[:1])


@pytest.mark.parametrize("shared", [("seed=0",), RESIDUAL, ("callbacks=none", "optimizer=adamw")], ids=" ".join)
def test_large_batches_take_a_way_of_their_own_to_the_same_runs(configs, tmp_path, monkeypatch, shared):
    settings = configs(*DOUBLE, *shared, each=("datamodule.seed=0", "datamodule.seed=1", "datamodule.seed=2"))
    ones = one_by_one(tmp_path / "one", settings)
    gathered = []
    monkeypatch.setattr("src.replicas.updates.CACHE", 2 * 128 * 64 * 8 - 1)  # less than two batches
    monkeypatch.setattr(FirstLayer, "outputs", lambda *args, own=FirstLayer.outputs: gathered.append(1) or own(*args))
    assert_same_runs(ones, together(tmp_path / "group", settings))
    assert gathered


@pytest.mark.parametrize("optimizer", ["sgd", ADAMW])
@pytest.mark.parametrize("model", [None, CONVOLUTIONAL, RESIDUAL], ids=["dense", "convolutional", "residual"])
def test_in_single_precision_they_differ_by_rounding(configs, tmp_path, optimizer, model):
    """Sums are taken in another order, and 55 steps let that grow: to 1e-5 at most, where a growth rate is near 0."""
    shared = model if model is RESIDUAL else ()
    settings = configs("trainer.max_epochs=5", f"optimizer={optimizer}", *shared, each=SEEDS[:2])
    settings = [{**its, "model": CONVOLUTIONAL} if model is CONVOLUTIONAL else its for its in settings]
    assert_same_runs(one_by_one(tmp_path / "one", settings), together(tmp_path / "group", settings), 5e-5)


def test_in_half_precision_they_are_runs_of_the_same_form(configs, tmp_path):
    """Other roundings of 8 bits make other runs: 1% of the loss after 55 steps."""
    settings = configs("trainer.max_epochs=5", "trainer.precision=bf16-mixed", each=SEEDS[:2])
    ones, others = one_by_one(tmp_path / "one", settings), together(tmp_path / "group", settings)
    for one, other in zip(ones, others, strict=True):
        found = dict(deviations(one, other))
        assert max(found.values()) < np.inf
        assert 1e-5 < found["steps.loss"] < 0.05


def test_the_batches_of_another_seed_would_be_noticed(configs, tmp_path, monkeypatch):
    settings = configs(*DOUBLE, each=SEEDS)
    ones = one_by_one(tmp_path / "one", settings)
    monkeypatch.setattr(
        "src.replicas.group.Batches", lambda samples, orders: Batches(samples, [orders[2], *orders[1:]])
    )
    others = together(tmp_path / "group", settings)
    assert differences(ones[0], others[0])
    assert_same_runs(ones[1:], others[1:])


def test_a_rate_that_is_a_millionth_off_would_be_noticed(configs, tmp_path, monkeypatch):
    settings = configs(*DOUBLE, each=SEEDS)
    ones = one_by_one(tmp_path / "one", settings)
    monkeypatch.setattr(Rates, "at", lambda self, step, at=Rates.at: off(at(self, step)))
    others = together(tmp_path / "group", settings)
    assert_same_runs(ones[:2], others[:2])
    assert any("state_dict" in found for found in differences(ones[2], others[2]))


def off(settings):
    rate = settings.rate.clone()
    rate[2] *= 1 + 1e-6
    return settings._replace(rate=rate)


@pytest.mark.parametrize(
    ("shared", "each", "ends"),
    [
        ((), DIVERGING, ["completed", "diverged", "completed", "diverged"]),
        (("optimizer=adamw",), ("seed=0 optimizer.lr=1e200", "seed=1"), ["diverged", "completed"]),
        ((), ("seed=0 optimizer.lr=1e200", "seed=1 optimizer.lr=1e200"), ["diverged", "diverged"]),
        ((), (f"seed=0 {GROWING}", "seed=1"), ["diverged", "completed"]),
        (STOPPING, ("seed=0", "seed=1 optimizer.lr=0.1", "seed=2"), ["completed"] * 3),
        ((*STOPPING, "callbacks.start_of_training.every_n_steps=4"), ("seed=0", "seed=1 optimizer.lr=0.1", "seed=2"),
         ["completed"] * 3),
        ((*STOPPING, "callbacks.start_of_training.every_n_steps=11"), ("seed=0", f"seed=1 {GROWING}"),
         ["completed", "diverged"]),
        (("trainer.max_steps=30",), SEEDS, ["completed"] * 3),
        (("trainer.max_steps=22",), SEEDS, ["completed"] * 3),
        (("trainer.max_steps=30", *STOPPING), ("seed=0 optimizer.lr=1e-4", "seed=1 optimizer.lr=0.1"),
         ["completed"] * 2),
        (("trainer.max_steps=7",), DIVERGING, ["completed", "completed", "completed", "diverged"]),
    ],
    ids=lambda settings: " ".join(settings) or "default",
)  # fmt: skip
def test_a_replica_leaves_without_touching_the_others(configs, tmp_path, shared, each, ends):
    settings = configs(*DOUBLE, *shared, each=each)
    ones, others = one_by_one(tmp_path / "one", settings), together(tmp_path / "group", settings)
    assert_same_runs(ones, others)
    assert [status for status, _ in statuses(others)] == ends


@pytest.mark.parametrize(
    ("shared", "each"),
    [
        ((), DIVERGING),
        (("trainer.max_steps=7",), DIVERGING),
        (("trainer.max_steps=30",), DIVERGING),
        ((LOOKING, "callbacks.start_of_training.every_n_steps=4"), DIVERGING),
        (("+callbacks.phase._target_=src.callbacks.phase.Phase", "+callbacks.phase.every_n_steps=4"), DIVERGING),
    ],
    ids=lambda settings: " ".join(settings) or "default",
)  # fmt: skip
def test_on_a_device_that_one_waits_for_they_leave_later_and_the_same(configs, tmp_path, monkeypatch, shared, each):
    settings = configs(*DOUBLE, *shared, each=each)
    ones = one_by_one(tmp_path / "one", settings)
    monkeypatch.setattr("src.replicas.group._waits", lambda device: True)
    assert_same_runs(ones, together(tmp_path / "group", settings))
    assert "diverged" in {status for status, _ in statuses(ones)}


def test_a_diverged_run_keeps_the_checkpoint_of_its_last_whole_epoch(configs, tmp_path):
    _, diverged = together(tmp_path, configs(*DOUBLE, each=("seed=0", f"seed=1 {GROWING}")))
    [(status, steps)] = statuses([diverged])
    assert status == "diverged" and steps % 11
    assert checkpoint(diverged)["global_step"] == steps // 11 * 11 > 0
    for table in ("lengths", "steps", "hyperparameters"):
        assert pd.read_parquet(diverged / table)["step"].max() == steps - 1


@pytest.mark.parametrize(
    "mistake",
    ["initializer.scale=-1", "optimizer.lr=-1", "seed=-1", "optimizer.momentum=2", "callbacks.lengths.every_n_steps=0"],
)
def test_a_job_that_cannot_be_built_leaves_the_others_alone(configs, tmp_path, capsys, mistake):
    """It says of itself what a run of its own would say."""
    settings = configs(*DOUBLE, each=("seed=0", mistake, "seed=2"))
    [one] = one_by_one(tmp_path / "one", settings[2:])
    with pytest.raises(ValueError) as own:
        one_by_one(tmp_path / "failed", settings[1:2])
    capsys.readouterr()
    with pytest.raises(Said):
        together(tmp_path / "group", settings)
    assert capsys.readouterr().err.splitlines() == [f"error: {own.value}"]
    first, failed, last = (tmp_path / "group" / str(index) for index in range(3))
    assert statuses([first, failed, last]) == [("completed", 55), ("failed", 0), ("completed", 55)]
    assert not [each for each in differences(one, last) if "overrides" not in each]
    reasons = [json.loads((run / "summary.json").read_text())["reason"] for run in (tmp_path / "failed" / "0", failed)]
    assert reasons[0] == reasons[1]


def test_a_directory_that_is_no_runs_is_its_jobs_own_matter(configs, tmp_path, capsys):
    settings = configs(*DOUBLE, each=SEEDS)
    (tmp_path / "group" / "1" / "lengths").mkdir(parents=True)
    (tmp_path / "group" / "1" / "lengths" / "mine.txt").touch()
    with pytest.raises(Said):
        together(tmp_path / "group", settings)
    [line] = capsys.readouterr().err.splitlines()
    assert "group/1: holds no run, but lengths" in line
    assert statuses([tmp_path / "group" / "0", tmp_path / "group" / "2"]) == [("completed", 55)] * 2


@pytest.mark.parametrize("error", [ValueError("logger.wandb: no"), OSError("No space left on device")])
def test_what_keeps_a_run_from_its_logger_leaves_the_others_alone(configs, tmp_path, monkeypatch, capsys, error):
    def refuse(loggers, config):
        if config["seed"] == 1:
            raise error

    monkeypatch.setattr("src.jobs.replica_runs.start_loggers", refuse)
    with pytest.raises(Said):
        together(tmp_path, configs(*DOUBLE, each=SEEDS))
    assert str(error) in capsys.readouterr().err
    runs = [tmp_path / str(index) for index in range(3)]
    assert statuses(runs) == [("completed", 55), ("failed", 55), ("completed", 55)]


def test_what_keeps_a_run_from_its_summary_leaves_the_others_alone(configs, tmp_path, monkeypatch):
    write_summary = RunDirectory.write_summary

    def refuse(self, summary):
        if self.path.name == "1":
            raise OSError("No space left on device")
        write_summary(self, summary)

    monkeypatch.setattr(RunDirectory, "write_summary", refuse)
    with pytest.raises(Said):
        together(tmp_path, configs(*DOUBLE, each=SEEDS))
    assert [RunDirectory(tmp_path / str(index)).state for index in range(3)] == ["completed", "killed", "completed"]


@pytest.mark.parametrize("callback", ["start_of_training.StartOfTraining", "test_metrics.TestMetrics"])
def test_a_callback_without_the_test_set_it_looks_at_fails_before_training(configs, tmp_path, capsys, callback):
    looking = (*RANDOM, "datamodule.test_samples=0", f"+callbacks.looking._target_=src.callbacks.{callback}")
    with pytest.raises(Said):
        together(tmp_path, configs(*DOUBLE, *looking, each=SEEDS[:2]))
    assert capsys.readouterr().err.count("the data has no test set") == 2
    assert statuses([tmp_path / "0", tmp_path / "1"]) == [("failed", 0)] * 2


def test_a_mistake_that_shows_when_a_group_begins_names_its_setting(configs, tmp_path):
    with pytest.raises(ValueError, match=r"^callbacks\.lengths\.modules = 'nothing'"):
        together(tmp_path, configs(*DOUBLE, "callbacks.lengths.modules=[nothing]", each=SEEDS[:2]))


def test_where_a_group_cannot_be_begun_its_runs_say_that_they_failed(configs, tmp_path, monkeypatch):
    def refuse(nets):
        raise ValueError("model: the nets of a group differ in gain, which is more than a number")

    monkeypatch.setattr("src.replicas.group.Stack", refuse)
    with pytest.raises(ValueError, match="differ in gain"):
        together(tmp_path, configs(*DOUBLE, each=SEEDS))
    runs = [RunDirectory(tmp_path / str(index)) for index in range(3)]
    assert [run.state for run in runs] == ["failed"] * 3
    assert all("differ in gain" in run.summary()["reason"] for run in runs)
