"""A table of user errors: each ends with status 1 and one line that names the setting, and changes no existing file."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from start_training.config.composed import plain
from start_training.config.errors import error_message, is_user_error
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.settings import settings_from
from start_training.studies.diagnose_config import diagnose_config
from start_training.studies.phase_diagram.phase_diagram import PhaseDiagramSettings
from start_training.training.train import check_settings
from start_training.training.train import train as train_job
from tests.composing import QUICK, STARTS, composed_of, start
from tests.forked import run
from tests.signalling import interrupted
from tests.small_runs import CONF

SCRIPTS = CONF.parent / "scripts"
USERS = """
import torch
from torch import nn

def nan_(weight):
    weight.fill_(float("nan"))

class Branching(nn.Module):  # branches on its data, which vmap does not support
    def __init__(self, input_size, classes, *, more=0):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(input_size + more, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, inputs):
        return self.net(inputs) if inputs.sum() > 0 else self.net(-inputs)
"""

# Overrides -> the beginning of the error message. {world}: the directory of the fixture; {run}: a checkpoint in it.
MISTAKES = {
    "train": """
+model.kernel=3 -> model.kernel = 3: no such setting; must be one of activation, depth, dropout, width, widths
~optimizer -> optimizer._target_ = None: must be package.module.name of a class or function
model.depth=0 -> model.depth = 0: must be a whole number of at least 1
initializer={_target_:odd_users.nan_,_partial_:true} -> initializer = odd_users.nan_: must draw finite
datamodule.batch_size=1 trainer=ddp_cpu -> datamodule.batch_size = 1: must be at least 2, the number of ranks
ckpt_path={world}/half.ckpt -> ckpt_path = {world}/half.ckpt: not a checkpoint, or a damaged one (
ckpt_path={run} model.width=21 -> ckpt_path = {run}: the checkpoint has another architecture (hidden
ckpt_path={world}/cut/checkpoints/last.ckpt datamodule.batch_size=64 -> datamodule.batch_size = 64: must be 128 to
hydra.run.dir={world}/run +logger.wandb._target_=nowhere.W -> logger.wandb._target_ = 'nowhere.W': cannot be
""",
    "range_test": """
datamodule.validation=0 -> datamodule.validation = 0: a range test needs validation data
""",
    "simulate": """
nets=1 -> nets = 1: must be a whole number of at least 2
sampler=layerwise model.dropout=0.5 -> sampler = layerwise: only supports FullyConnected and Residual nets
model={_target_:odd_users.Branching,more:1} -> model = odd_users.Branching: its forward pass fails on 1 samples
model={_target_:odd_users.Branching} sampler=vectorized -> sampler = 'vectorized': torch cannot vectorize
device=meta -> device = 'meta': must be cpu or cuda
initializer={_target_:odd_users.nan_} -> initializer = odd_users.nan_: its weights give lengths that are NaN
""",
    "search": """
search=weight_decay search.values=[1e-3] -> search.values = [0.001]: must hold at least two different weight decays
trainer=ddp_cpu -> trainer.devices = 2: must be 1 with strategy auto, because this command
range_tests=none -> range_tests = none: must contain range_test; type callbacks@range_tests=range
search=momentum search.cyclical=[0.9] -> search.cyclical = 0.9: each entry must be [constant momentum] or
search=momentum schedule=cosine -> schedule.momentum = none: the schedule must have a momentum; choose
""",
    "recipe": """
momenta=[0.95,0.85] -> momenta = 0.95: each entry must be [constant momentum] or [momentum at the lowest
optimizers=[lion] -> optimizers = 'lion': must be one of adam, adamw, sgd
trainer.max_steps=20 -> trainer.max_steps = 20: must be -1, because this command limits
weight_decays=[1e-3] -> weight_decays = [0.001]: must hold at least two different weight decays
""",
    "weight_decay": """
measure=2 -> measure = 2: must be a whole number of at least 3
window=[2,4] -> window = [2, 4]: must be [start, end], at least 3 epochs apart
epochs=2 -> epochs = 2: must be a whole number of at least 3
speed=[0.5] -> speed = [0.5]: must be a list of numbers above 1, factors on
""",
    "phase_diagram": """
iterations=9 -> iterations = 9: must be a whole number of at least 10
J0_over_J={low:-1,high:2} -> J0_over_J.bins: must be set
J0_over_J={low:1,high:1,bins:3} -> J0_over_J.high = 1: must be above low = 1
J0_over_J={low:0,high:inf,bins:3} -> J0_over_J.high = inf: must be a finite number
inverse_J={low:-1.1,high:1,bins:3} -> inverse_J.low = -1.1: must be a number of at least 0
finite_size=3 -> finite_size = 3: must have N, matrices, iterations, inverse_J
""",
    "picture": """
image=360 -> image = 360: must be below 360, the number of test images
layers=[7] -> layers = 7: must be at most 6, the number of the last measured layer
layers=[] -> layers = []: must be a list of numbers, as layers=[1,9], or null for 5 layers
datamodule=random_inputs -> model.input_shape = [100]: must be (channels, height, width); choose a
initializers=null -> initializers = none: must have at least one initializer; type +initializer@initializers.NAME=NAME
model=fully_connected -> layers = 1: must be a layer with output (channels, height, width); hidden.0.
""",
    "diagnose": """
+thresholds.spread=2 -> thresholds.spread = 2: no such setting; there are beta, dead, drift, drift_adam, normalized
thresholds=2 -> thresholds = 2: must be a mapping; set each threshold by its key, as thresholds.drift=
""",
}
# Errors that only the whole command shows, and some that a function call would show: command, overrides, beginning of
# the error message.
TYPED = [
    ("train", "datamodule=cifar100", "datamodule = cifar100: no such option; must be one of cifar10, cifar10_or"),
    ("train", "model.depth", "model.depth: not a valid override; must be key=value ("),
    ("train", "model.depth=${{deep}}", "model.depth: Interpolation key 'deep' not found"),
    ("train", "hydra.run.dir={world}/mine", "hydra.run.dir = {world}/mine: not a run directory, but it holds figures"),
    ("train", "hydra.run.dir={world}/run model.depth=9", "hydra.run.dir = {world}/run: already holds a run of an"),
    ("recipe", "hydra/launcher=joblib", "hydra/launcher = joblib: has no effect in a single run; must be left out, or"),
    ("recipe", "val_points=20", "val_points = 20: no such key; perhaps range_tests.range_test.val_points; or type"),
    ("train", "optimizer.lrr=1", "optimizer.lrr = 1: no such key; perhaps optimizer.lr; must be one of lr, mom"),
    ("search", "seeds=3,2", "seeds = 3,2: several values; must be one value, or type -m for a sweep over them, or"),
    ("weight_decay", "depth=3", "depth = 3: only used with family=… or experiment=…; for one"),
    ("diagnose", "out=nowhere/verdict.json", "out = nowhere/verdict.json: must be a file in a directory that exists"),
]  # fmt: skip
CHECKS: dict[str, Callable[[Job, DictConfig], object]] = {
    **STARTS,
    "range_test": lambda job, config: check_settings(job.config),
    "phase_diagram": lambda job, config: settings_from(PhaseDiagramSettings, job.config),
    "diagnose": lambda job, config: diagnose_config(job.config),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, trained) -> Path:
    """A directory with a finished and an interrupted run, damaged checkpoints, a file, a figure and custom classes."""
    world = tmp_path_factory.mktemp("world")
    shutil.copytree(trained(), world / "run")
    interrupted(plain(composed_of("train")), world / "cut", 14)
    (world / "odd_users.py").write_text(USERS)
    (world / "file").write_text("no directory")
    (world / "mine" / "figures").mkdir(parents=True)
    (world / "mine" / "figures" / "paper.pdf").write_text("years of work")
    whole = RunDirectory(world / "run").checkpoint.read_bytes()
    (world / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    (world / "no_checkpoint").mkdir()
    shutil.copy(world / "run" / "config.yaml", world / "no_checkpoint")
    return world


def hashes(directory: Path) -> dict[Path, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.suffix not in (".lock", ".pyc"))
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name != ".lock"}


CASES = [(script, line) for script, lines in MISTAKES.items() for line in lines.strip().splitlines()]


@pytest.mark.parametrize(("script", "line"), CASES, ids=[f"{script} {line.split(' ->')[0]}" for script, line in CASES])
def test_a_user_error_is_one_line_and_changes_no_file(world, tmp_path, monkeypatch, script, line):
    monkeypatch.syspath_prepend(str(world))
    monkeypatch.chdir(tmp_path)
    filled = line.replace("{run}", "{world}/run/checkpoints/last.ckpt").replace("{world}", str(world))
    overrides, expected = filled.split(" -> ")
    words = overrides.split()
    directory = tmp_path / "new"
    if words[0].startswith("hydra.run.dir="):
        directory = Path(words.pop(0).partition("=")[2])
    before = hashes(world) if filled != line else None
    with pytest.raises(Exception) as raised:
        config = composed_of(script, *words)
        CHECKS[script](Job(plain(config), directory), config)
    assert is_user_error(raised.value)
    message = error_message(raised.value)
    assert message.startswith(expected)
    assert "\n" not in message
    assert "HYDRA_FULL_ERROR" not in message or " = " not in expected  # the hint is for messages without a setting
    assert before is None or hashes(world) == before
    if summary := RunDirectory(directory).summary() if directory == tmp_path / "new" else None:
        assert summary["status"] == "failed"
        assert message.startswith(summary["reason"].removeprefix("ValueError: "))
        assert not (directory / "runs").exists()


@pytest.mark.parametrize(("script", "overrides", "expected"), TYPED, ids=[" ".join(case[:2]) for case in TYPED])
def test_a_user_error_of_a_whole_command_is_one_line_and_changes_no_file(
    world, shell, tmp_path, script, overrides, expected
):
    before, words = hashes(world), overrides.format(world=world).split()
    status, output, errors = shell(script, *QUICK[script], "hydra.run.dir=new", *words)
    assert (status, output) == (1, [])
    [line] = errors
    assert line.startswith(f"error: {expected.format(world=world)}")
    assert hashes(world) == before
    assert not list((tmp_path / "new").glob("runs/*"))


def test_the_directory_of_a_sweep_is_refused_in_a_single_run_and_vice_versa(shell, tmp_path):
    single, sweep = "hydra.sweep.dir=mine", ("seed=0", "hydra.run.dir=mine")
    assert shell("train", *QUICK["train"], single)[2] == [
        "error: hydra.sweep.dir = mine: has no effect in a single run; must be hydra.run.dir=mine, or -m added"
    ]
    status, _, errors = shell("train", "-m", *QUICK["train"], *sweep)
    assert status == 1
    assert errors[0] == "error: hydra.run.dir = mine: has no effect in a multirun; must be hydra.sweep.dir=mine"
    assert not (tmp_path / "mine").exists()
    assert shell("train", *QUICK["train"], single, "hydra.run.dir=run")[0] == 0  # words that serve for both
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_corrected_command_succeeds_in_the_directory_of_the_failed_one(tmp_path):
    for script, mistake in (("train", "model.depth=0"), ("simulate", "nets=1"), ("picture", "layers=[7]")):
        with pytest.raises(ValueError):
            start(script, tmp_path / script, mistake)
        start(script, tmp_path / script)
        assert RunDirectory(tmp_path / script).summary()["status"] == "completed"


def test_a_gpu_that_the_machine_lacks(config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"^trainer.accelerator = 'gpu': this machine has no CUDA GPU; use cpu$"):
        train_job(Job(config("trainer=gpu", "trainer.devices=1"), tmp_path))
    with pytest.raises(ValueError, match=r"^device = 'cuda': this machine has no CUDA GPU; use cpu$"):
        settings_from(PhaseDiagramSettings, plain(composed_of("phase_diagram", "device=cuda")))


def test_evaluating_a_directory_without_a_run_or_without_a_checkpoint(shell, world):
    incomplete = world / "no_checkpoint"
    for directory, message in (
        (world / "nowhere", f"RUN_DIRECTORY = {world}/nowhere: not a run directory (it has no config.yaml)"),
        (incomplete, f"checkpoint = {incomplete}/checkpoints/last.ckpt: no such file"),
    ):
        assert shell("evaluate", str(directory)) == (1, [], [f"error: {message}"])


@pytest.mark.slow
def test_a_user_error_in_a_separate_process_is_one_line(tmp_path):
    """With the default loggers W&B writes nothing; with HYDRA_FULL_ERROR=1 there is a traceback."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    command = (SCRIPTS / "train.py", "datamodule.batch_size=5000", "hydra.run.dir=new")
    ended = run(*command, cwd=tmp_path, env=environment)
    message = "datamodule.batch_size = 5000: must be at most 1293, the size of the training set"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"error: {message}\n")
    assert not (tmp_path / "new" / "wandb").exists()
    ended = run(*command, cwd=tmp_path, env={**environment, "HYDRA_FULL_ERROR": "1"})
    assert ended.returncode == 1
    assert "Traceback (most recent call last)" in ended.stderr
    assert f"ValueError: {message}" in ended.stderr
