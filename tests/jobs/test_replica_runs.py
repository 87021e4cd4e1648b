"""Runs that train as a group leave what their own runs leave, to rounding."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.jobs.command_line import Said
from src.replicas.batches import Batches
from src.replicas.first_layer import FirstLayer
from src.replicas.rates import Rates
from src.runs.directory import RunDirectory
from tests.jobs.replica_jobs import DOUBLE, assert_same_runs, checkpoint, deviations, differences, together

SHORT = ("trainer.precision=64-true", "trainer.max_epochs=2")  # 22 steps
SEEDS = ("seed=0", "seed=1", "seed=2")
RATES = ("seed=0", "seed=1 optimizer.lr=0.003", "seed=1 initializer=lecun_normal optimizer.weight_decay=1e-3")
SCALES = ("seed=0 model.base=0.5", "seed=1 model.scales=inverse_depth", "seed=2 model.scales=[0.3,0.2,1.0]")
RESIDUAL = ("model=residual", "model.modules=3")
CONVOLUTIONAL = {"_target_": "src.models.convolutional.Convolutional", "depth": 2, "channels": 3}
SCALED = [CONVOLUTIONAL | {"residual": True, "scales": "constant", "eta": eta} for eta in (0.5, 1.0)]
RANDOM = ("datamodule=random_inputs", "datamodule.input_size=12", "datamodule.samples=704")
TESTS = "+callbacks.tests._target_=src.callbacks.test_metrics.TestMetrics"
LOOKING = ("callbacks=start_of_training", "callbacks.start_of_training.every_n_steps=4")
STOPPING = (*LOOKING, "callbacks.start_of_training.stop=true", "callbacks.start_of_training.threshold=0.5")
# Weights that grow by a factor at every step: the loss overflows in the third epoch.
GROWING = "optimizer.weight_decay=700 optimizer.lr=0.003 optimizer.momentum=0"
DIVERGING = ("seed=0", f"seed=1 {GROWING}", "seed=2", "seed=3 optimizer.lr=1e200")


@pytest.fixture
def configs(config):
    """Of jobs that have some settings in common, each with some of its own."""

    def composed(*shared: str, each: tuple[str, ...]) -> list[dict]:
        return [config(*shared, *own.split()) for own in each]

    return composed


def of_nets(configs: list[dict], *targets: str, **settings: object) -> list[dict]:
    """The same configs, of nets of tests/replicas/nets.py."""
    nets = [{"_target_": f"tests.replicas.nets.{target}", **settings} for target in targets]
    return [{**config, "model": net} for config, net in zip(configs, nets * len(configs), strict=False)]


def statuses(runs: list[Path]) -> list[tuple[str, int]]:
    found = [RunDirectory(run).summary() for run in runs]
    return [(summary["status"], summary["steps"]) for summary in found]


@pytest.mark.parametrize(
    ("shared", "each"),
    [
        ((), RATES),
        (("optimizer.nesterov=true", "schedule=one_cycle"), ("seed=0", "seed=0 optimizer.momentum=0.5")),
        (("schedule=one_cycle", "schedule.momentum=[0.95,0.0]"), SEEDS[:2]),  # torch keeps no velocity where it is 0
        (("+optimizer.dampening=0.2", "+optimizer.maximize=true", "schedule=step"),
         ("seed=0 optimizer.lr=1e-5", "seed=1 optimizer.lr=1e-6")),
        (("optimizer=adamw", "schedule=one_cycle", "datamodule.validation=0", *LOOKING, TESTS,
          "callbacks.lengths.every_n_steps=3"), RATES),
        (("optimizer=adam", "+optimizer.decoupled_weight_decay=true", "+optimizer.amsgrad=true"),
         ("seed=0", "seed=1 optimizer.betas=[0.5,0.9]")),
        (RESIDUAL, SCALES),
        (("model=tanh_layer", "initializer=phase", "callbacks=phase"),
         ("seed=0 initializer.J=0.7", "seed=2 optimizer.momentum=0")),
    ],
    ids=["rates", "nesterov", "no velocity", "maximize", "adamw", "adam", "residual", "phase"],
)  # fmt: skip
def test_runs_of_a_group_are_the_runs_that_they_would_be(alone, configs, tmp_path, shared, each):
    settings = configs(*SHORT, *shared, each=each)
    assert_same_runs(alone(settings), together(tmp_path, settings))


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("adamw", marks=pytest.mark.slow)])
@pytest.mark.parametrize("net", ["Normalized", "InPlace", "Patches", "Frozen", "Settled", None])
@pytest.mark.filterwarnings("ignore:Found 1 module")  # of Settled, as Lightning says, "if this is intentional"
def test_any_module_trains_in_a_group(alone, configs, tmp_path, net, optimizer):
    settings = configs(*SHORT, "trainer.max_epochs=1", f"optimizer={optimizer}", each=SEEDS[:2])
    settings = of_nets(settings, net) if net else [settings[seed] | {"model": SCALED[seed]} for seed in range(2)]
    assert_same_runs(alone(settings), together(tmp_path, settings))


def test_a_loss_that_is_no_number_on_some_of_a_test_set_is_none(alone, configs, tmp_path):
    settings = of_nets(
        configs(*SHORT, *RANDOM, "datamodule.test_samples=2500", "callbacks=none", each=SEEDS[:2]), "Rooted"
    )
    assert_same_runs(alone(settings), together(tmp_path, settings))
    assert [RunDirectory(run).summary()["metrics"]["test/loss"] for run in alone(settings)] == [None] * 2


def test_data_drawn_from_the_processs_stream_are_those_of_the_runs(alone, configs, tmp_path, monkeypatch):
    """Of which a net like this one draws before them."""
    shared = (*SHORT, *RANDOM, "datamodule._target_=tests.replicas.datamodules.Drawn")
    settings = of_nets(configs(*shared, each=SEEDS[:1] * 2), "Normalized")
    ones = alone(settings[:1])
    monkeypatch.setattr("src.jobs.train._loaded", [])  # as in another process
    assert_same_runs(ones, together(tmp_path, settings)[:1])


@pytest.mark.parametrize("shared", [("seed=0",), RESIDUAL], ids=" ".join)
def test_large_batches_take_a_way_of_their_own_to_the_same_runs(alone, configs, tmp_path, monkeypatch, shared):
    settings = configs(*SHORT, *shared, each=("datamodule.seed=0", "datamodule.seed=1"))
    ones, gathered = alone(settings), []
    monkeypatch.setattr("src.replicas.updates.CACHE", 2 * 128 * 64 * 8 - 1)  # less than two batches
    monkeypatch.setattr(FirstLayer, "outputs", lambda *args, own=FirstLayer.outputs: gathered.append(1) or own(*args))
    assert_same_runs(ones, together(tmp_path, settings))
    assert gathered


@pytest.mark.parametrize("shared", [(), ("optimizer=adamw", *RESIDUAL)], ids=["sgd", "adamw, residual"])
def test_in_single_precision_they_differ_by_rounding(alone, configs, tmp_path, shared):
    """Sums are taken in another order, and steps let that grow: to 1e-5 at most, where a growth rate is near 0."""
    settings = configs(*shared, each=SEEDS[:2])
    assert_same_runs(alone(settings), together(tmp_path, settings), 5e-5)


def test_in_half_precision_they_are_runs_of_the_same_form(alone, configs, tmp_path):
    """Other roundings of 8 bits make other runs: 1% of the loss after 55 steps."""
    settings = configs("trainer.max_epochs=5", "trainer.precision=bf16-mixed", each=SEEDS[:2])
    for one, other in zip(alone(settings), together(tmp_path, settings), strict=True):
        found = dict(deviations(one, other))
        assert max(found.values()) < np.inf
        assert 1e-5 < found["steps.loss"] < 0.05


def test_the_batches_of_another_seed_and_a_rate_a_millionth_off_would_be_noticed(alone, configs, tmp_path, monkeypatch):
    settings = configs(*SHORT, each=SEEDS)

    def off(rates):
        rate = rates.rate.clone()
        rate[1] *= 1 + 1e-6
        return rates._replace(rate=rate)

    monkeypatch.setattr(
        "src.replicas.group.Batches", lambda samples, orders: Batches(samples, [orders[2], *orders[1:]])
    )
    monkeypatch.setattr(Rates, "at", lambda self, step, at=Rates.at: off(at(self, step)))
    pairs = list(zip(alone(settings), together(tmp_path, settings), strict=True))
    assert any("steps.loss" in found for found in differences(*pairs[0]))
    assert any("state_dict" in found for found in differences(*pairs[1]))
    assert not differences(*pairs[2])


ENDS = [
    ((), DIVERGING, ["completed", "diverged", "completed", "diverged"]),
    (("optimizer=adamw",), ("seed=0 optimizer.lr=1e200", "seed=1 optimizer.lr=1e200"), ["diverged"] * 2),
    (STOPPING, ("seed=0", "seed=1 optimizer.lr=0.1", f"seed=2 {GROWING}"), ["completed", "completed", "diverged"]),
    (("trainer.max_steps=22", TESTS), SEEDS[:2], ["completed"] * 2),
    (("trainer.max_steps=30", *STOPPING), ("seed=0 optimizer.lr=1e-4", "seed=1 optimizer.lr=0.1"), ["completed"] * 2),
    (("trainer.max_steps=7",), DIVERGING, ["completed", "completed", "completed", "diverged"]),
]


@pytest.mark.parametrize(("shared", "each", "ends"), ENDS, ids=range(len(ENDS)))
def test_a_replica_leaves_without_touching_the_others(alone, configs, tmp_path, shared, each, ends):
    settings = configs(*DOUBLE, *shared, each=each)
    others = together(tmp_path, settings)
    assert_same_runs(alone(settings), others)
    assert [status for status, _ in statuses(others)] == ends
    for run, (status, steps) in zip(others, statuses(others), strict=True):
        if status == "diverged":  # it keeps the checkpoint of its last whole epoch, and all of its rows
            assert not steps // 11 or checkpoint(run)["global_step"] == steps // 11 * 11 < steps
            assert {pd.read_parquet(run / table)["step"].max() for table in ("lengths", "steps")} == {steps - 1}


@pytest.mark.parametrize(
    "shared",
    [
        (),
        (
            "trainer.max_steps=7",
            "+callbacks.phase._target_=src.callbacks.phase.Phase",
            "+callbacks.phase.every_n_steps=4",
        ),
        ("trainer.max_steps=30", *LOOKING),
    ],
    ids=["epochs", "phase", "looking"],
)
def test_on_a_device_that_one_waits_for_they_leave_later_and_the_same(alone, configs, tmp_path, monkeypatch, shared):
    settings = configs(*DOUBLE, *shared, each=DIVERGING)
    ones = alone(settings)
    monkeypatch.setattr("src.replicas.group._waits", lambda device: True)
    assert_same_runs(ones, together(tmp_path, settings))
    assert "diverged" in {status for status, _ in statuses(ones)}


def test_a_job_that_cannot_be_built_leaves_the_others_alone(alone, configs, tmp_path, capsys):
    """It says of itself what a run of its own would say."""
    mistakes = ("initializer.scale=-1", "optimizer.lr=-1", "seed=-1", "optimizer.momentum=2",
                "callbacks.lengths.every_n_steps=0")  # fmt: skip
    settings, own = configs(*SHORT, each=("seed=0", *mistakes, "seed=2")), []
    ones = alone([settings[0], settings[-1]])
    for broken in settings[1:-1]:
        with pytest.raises(ValueError) as error:
            alone([broken])
        own.append(str(error.value))
    capsys.readouterr()
    with pytest.raises(Said):
        together(tmp_path, settings)
    assert capsys.readouterr().err.splitlines() == [f"error: {message}" for message in own]
    first, *failed, last = (tmp_path / str(index) for index in range(7))
    assert_same_runs(ones, [first, last])
    assert statuses(failed) == [("failed", 0)] * 5
    assert [RunDirectory(run).summary()["reason"] for run in failed] == [f"ValueError: {message}" for message in own]


def test_a_directory_that_is_no_runs_is_its_jobs_own_matter(configs, tmp_path, capsys):
    (tmp_path / "group" / "1" / "lengths").mkdir(parents=True)
    (tmp_path / "group" / "1" / "lengths" / "mine.txt").touch()
    with pytest.raises(Said):
        together(tmp_path / "group", configs(*SHORT, each=SEEDS))
    [line] = capsys.readouterr().err.splitlines()
    assert "group/1: holds no run, but lengths" in line
    assert statuses([tmp_path / "group" / "0", tmp_path / "group" / "2"]) == [("completed", 22)] * 2


def test_what_keeps_a_run_from_its_logger_or_summary_leaves_the_others_alone(configs, tmp_path, monkeypatch, capsys):
    def refuse_logger(loggers, config):
        if config["seed"] == 1:
            raise ValueError("logger.wandb: no")

    def refuse_summary(self, summary, own=RunDirectory.write_summary):
        if self.path.name == "2":
            raise OSError("No space left on device")
        own(self, summary)

    monkeypatch.setattr("src.jobs.replica_runs.start_loggers", refuse_logger)
    monkeypatch.setattr(RunDirectory, "write_summary", refuse_summary)
    with pytest.raises(Said):
        together(tmp_path, configs(*SHORT, each=(*SEEDS, "seed=3")))
    errors = capsys.readouterr().err
    assert "logger.wandb: no" in errors and "No space left on device" in errors
    states = [RunDirectory(tmp_path / str(index)).state for index in range(4)]
    assert states == ["completed", "failed", "killed", "completed"]


@pytest.mark.parametrize("looking", [LOOKING, (TESTS,)], ids=["start", "tests"])
def test_a_callback_without_the_test_set_it_looks_at_fails_before_training(configs, tmp_path, capsys, looking):
    with pytest.raises(Said):
        together(tmp_path, configs(*SHORT, *RANDOM, "datamodule.test_samples=0", *looking, each=SEEDS[:2]))
    assert capsys.readouterr().err.count("the data has no test set") == 2
    assert statuses([tmp_path / "0", tmp_path / "1"]) == [("failed", 0)] * 2


def test_a_mistake_that_shows_when_a_group_begins_names_its_setting(configs, tmp_path):
    with pytest.raises(ValueError, match=r"^callbacks\.lengths\.modules = 'nothing'"):
        together(tmp_path, configs(*SHORT, "callbacks.lengths.modules=[nothing]", each=SEEDS[:2]))
    runs = [RunDirectory(tmp_path / str(index)) for index in range(2)]
    assert all("callbacks.lengths.modules" in run.summary()["reason"] and run.state == "failed" for run in runs)
