"""Runs trained in a group equal single runs up to rounding."""

from pathlib import Path

import numpy as np
import pytest

from start_training.config.errors import ReportedError
from start_training.runs.directory import RunDirectory
from start_training.training.replica_build import limits
from tests.replica_jobs import assert_same_runs, deviations, together

SHORT = ("trainer.precision=64-true", "trainer.max_epochs=2")  # 22 steps
SEEDS = ("seed=0", "seed=1", "seed=2")
RATES = ("seed=0", "seed=1 optimizer.lr=0.003", "seed=1 initializer=lecun_normal optimizer.weight_decay=1e-3")
SCALES = ("seed=0 model.base=0.5", "seed=1 model.scales=inverse_depth", "seed=2 model.scales=[0.3,0.2,1.0]")
RESIDUAL = ("model=residual", "model.modules=3")
CONVOLUTIONAL = {"_target_": "start_training.models.convolutional.Convolutional", "depth": 2, "channels": 3}
SCALED = [CONVOLUTIONAL | {"residual": True, "scales": "constant", "eta": eta} for eta in (0.5, 1.0)]
RANDOM = ("datamodule=random_inputs", "datamodule.input_size=12", "datamodule.samples=704")
TESTS = "+callbacks.tests._target_=start_training.callbacks.test_metrics.TestMetrics"
LOOKING = ("callbacks=start_of_training", "callbacks.start_of_training.every_n_steps=4")


@pytest.fixture
def configs(config):
    """Compose configs with common overrides; each string in `job_overrides` has overrides of one job."""

    def composed(*shared: str, job_overrides: tuple[str, ...]) -> list[dict]:
        return [config(*shared, *job.split()) for job in job_overrides]

    return composed


def of_nets(configs: list[dict], target: str) -> list[dict]:
    """Replace the model of configs by a net of tests/replicas/nets.py."""
    return [{**config, "model": {"_target_": f"tests.replicas.nets.{target}"}} for config in configs]


def statuses(runs: list[Path]) -> list[tuple[str, int]]:
    summaries = [RunDirectory(run).summary() for run in runs]
    return [(summary["status"], summary["steps"]) for summary in summaries]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shared", "job_overrides"),
    [
        (("schedule=one_cycle", "schedule.momentum=[0.95,0.0]"), RATES),  # torch has no buffer without momentum
        (("optimizer=adamw", "schedule=one_cycle", "datamodule.validation=0", *LOOKING, TESTS), RATES),
        (RESIDUAL, SCALES),
        (("model=tanh_layer", "initializer=phase", "callbacks=phase"),
         ("seed=0 initializer.J=0.7", "seed=2 optimizer.momentum=0")),
        (("initializer=auto", "model.depth=20"), SEEDS),
    ],
    ids=["no velocity", "adamw", "residual", "phase", "auto"],
)  # fmt: skip
def test_runs_of_a_group_equal_single_runs(alone, configs, tmp_path, shared, job_overrides):
    settings = configs(*SHORT, *shared, job_overrides=job_overrides)
    assert_same_runs(alone(settings), together(tmp_path, settings))


@pytest.mark.slow
@pytest.mark.parametrize("net", ["Frozen", "Settled", None])
@pytest.mark.filterwarnings("ignore:Found 1 module")  # a warning about the net Settled
def test_any_module_trains_in_a_group(alone, configs, tmp_path, net):
    settings = configs(*SHORT, "trainer.max_epochs=1", "optimizer=adamw", job_overrides=SEEDS[:2])
    settings = of_nets(settings, net) if net else [settings[seed] | {"model": SCALED[seed]} for seed in range(2)]
    assert_same_runs(alone(settings), together(tmp_path, settings))


def test_data_drawn_from_the_global_generator_equal_those_of_single_runs(alone, configs, tmp_path, monkeypatch):
    """The net draws its weights from the global generator before the data are drawn."""
    shared = (*SHORT, *RANDOM, "datamodule._target_=tests.replicas.datamodules.Drawn")
    settings = of_nets(configs(*shared, job_overrides=SEEDS[:1] * 2), "Normalized")
    ones = alone(settings[:1])
    monkeypatch.setattr("start_training.training.train._loaded", [])  # as in a new process
    assert_same_runs(ones, together(tmp_path, settings)[:1])


def test_runs_in_half_precision_are_close_to_single_runs(alone, configs, tmp_path):
    """With 8-bit mantissas, rounding changes the loss by 1% after 55 steps."""
    settings = configs("trainer.max_epochs=5", "trainer.precision=bf16-mixed", job_overrides=SEEDS[:2])
    for one, other in zip(alone(settings), together(tmp_path, settings), strict=True):
        summaries = dict(deviations(one, other))
        assert max(summaries.values()) < np.inf
        assert 1e-5 < summaries["steps.loss"] < 0.05


def test_a_job_that_cannot_be_built_does_not_affect_other_jobs(alone, configs, tmp_path, capsys):
    """Its error message is that of a single run."""
    mistakes = ("initializer.scale=-1", "optimizer.lr=-1", "seed=-1", "callbacks.lengths.every_n_steps=0")
    settings, messages = configs(*SHORT, job_overrides=("seed=0", *mistakes, "seed=2")), []
    ones = alone([settings[0], settings[-1]])
    for broken in settings[1:-1]:
        with pytest.raises(ValueError) as error:
            alone([broken])
        messages.append(str(error.value))
    capsys.readouterr()
    with pytest.raises(ReportedError):
        together(tmp_path, settings)
    assert capsys.readouterr().err.splitlines() == [f"error: {message}" for message in messages]
    first, *failed, last = (tmp_path / str(index) for index in range(6))
    assert_same_runs(ones, [first, last])
    assert statuses(failed) == [("failed", 0)] * 4
    assert [RunDirectory(run).summary()["reason"] for run in failed] == [
        f"ValueError: {message}" for message in messages
    ]


def test_an_error_of_directory_logger_or_summary_ends_only_its_run(configs, tmp_path, monkeypatch, capsys):
    def refuse_logger(loggers, config):
        if config["seed"] == 1:
            raise ValueError("logger.wandb: no")

    def refuse_summary(self, summary, write=RunDirectory.write_summary):
        if self.path.name == "2":
            raise OSError("No space left on device")
        write(self, summary)

    monkeypatch.setattr("start_training.training.replica_runs.start_loggers", refuse_logger)
    monkeypatch.setattr(RunDirectory, "write_summary", refuse_summary)
    (tmp_path / "3" / "lengths").mkdir(parents=True)
    (tmp_path / "3" / "lengths" / "mine.txt").touch()
    with pytest.raises(ReportedError):
        together(tmp_path, configs(*SHORT, job_overrides=(*SEEDS, "seed=3")))
    errors = capsys.readouterr().err
    assert "3: not a run directory, but it holds lengths" in errors
    assert "logger.wandb: no" in errors and "No space left on device" in errors
    assert [RunDirectory(tmp_path / str(index)).state for index in range(3)] == ["completed", "failed", "killed"]


def test_a_mistake_found_when_a_group_starts_names_its_setting(configs, tmp_path):
    with pytest.raises(ValueError, match=r"^callbacks\.lengths\.modules = 'nothing'"):
        together(tmp_path, configs(*SHORT, "callbacks.lengths.modules=[nothing]", job_overrides=SEEDS[:2]))
    runs = [RunDirectory(tmp_path / str(index)) for index in range(2)]
    assert all("callbacks.lengths.modules" in run.summary()["reason"] and run.state == "failed" for run in runs)


def test_a_callback_that_needs_a_missing_test_set_fails_before_training(configs, tmp_path, capsys):
    with pytest.raises(ReportedError):
        together(tmp_path, configs(*SHORT, *RANDOM, "datamodule.test_samples=0", TESTS, job_overrides=SEEDS[:2]))
    assert capsys.readouterr().err.count("the data has no test set") == 2
    assert statuses([tmp_path / "0", tmp_path / "1"]) == [("failed", 0)] * 2


@pytest.mark.parametrize("settings, expected", [
    ({}, (1000, -1)), ({"max_steps": 5}, (-1, 5)), ({"max_epochs": 3}, (3, -1)), ({"max_epochs": -1}, (-1, -1)),
    ({"max_epochs": 3, "max_steps": 5}, (3, 5)),
])  # fmt: skip
def test_limits_that_are_not_set_have_lightnings_defaults(settings, expected):
    assert limits(settings) == expected
