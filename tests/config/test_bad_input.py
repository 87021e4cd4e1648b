"""A table of mistakes: each ends with status 1 and one line that names the setting, and costs no earlier run a byte."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from start_training.config.composed import plain
from start_training.config.errors import error_message, is_users_mistake
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

class Looking(nn.Module):  # at its data, which vmap cannot
    def __init__(self, input_size, classes, *, more=0):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(input_size + more, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, inputs):
        return self.net(inputs) if inputs.sum() > 0 else self.net(-inputs)
"""

# What is typed, and how the line goes on after `error: `. {world}: see the fixture; {run}: its run's checkpoint.
MISTAKES = {
    "train": """
+model.kernel=3 -> model.kernel = 3: no such setting; there are activation, depth, dropout, width, widths
~optimizer -> optimizer._target_ = None: must be package.module.name, of a class or function
model.depth=0 -> model.depth = 0: must be a whole number of at least 1
initializer={_target_:odd_users.nan_,_partial_:true} -> initializer = odd_users.nan_: left non-finite
datamodule.batch_size=1 trainer=ddp_cpu -> datamodule.batch_size = 1: smaller than the number of ranks, 2
ckpt_path={world}/half.ckpt -> ckpt_path = {world}/half.ckpt: is not a whole checkpoint (
ckpt_path={run} model.width=21 -> ckpt_path = {run}: is of another architecture (hidden.0.linear.weight: 16×64 in
ckpt_path={world}/cut/checkpoints/last.ckpt datamodule.batch_size=64 -> datamodule.batch_size = 64: the checkpoint
hydra.run.dir={world}/run +logger.wandb._target_=nowhere.W -> logger.wandb._target_ = 'nowhere.W': cannot be
""",
    "range_test": """
datamodule.validation=0 -> datamodule.validation = 0: a range test needs validation data
""",
    "simulate": """
nets=1 -> nets = 1: must be a whole number of at least 2
sampler=layerwise model.dropout=0.5 -> sampler = layerwise: only supports FullyConnected and Residual nets
model={_target_:odd_users.Looking,more:1} -> model = odd_users.Looking: fails on samples = 1 of shape (100,) (Runt
model={_target_:odd_users.Looking} sampler=vectorized -> sampler = 'vectorized': torch cannot vectorize
device=meta -> device = 'meta': nets are sampled on cpu or cuda
initializer={_target_:odd_users.nan_} -> initializer = odd_users.nan_: its weights give lengths that are NaN
""",
    "search": """
search=weight_decay search.values=[1e-3] -> search.values = [0.001]: must be at least two weight decays
trainer=ddp_cpu -> trainer.devices = 2: its runs are trained one after the other in one process
range_tests=none -> range_tests = none: must hold a range_test
search=momentum search.cyclical=[0.9] -> search.cyclical = 0.9: must hold lists, [at the lowest rate, at
search=momentum schedule=cosine -> schedule.momentum = none: must be there to be chosen
""",
    "recipe": """
budget=12 -> budget = 12: 5 range tests of 20 steps and 2 runs of 1 epochs take 12 epochs, so that
trainer.max_steps=20 -> trainer.max_steps = 20: would cut runs short
weight_decays=[1e-3] -> weight_decays = [0.001]: must be at least two weight decays
""",
    "weight_decay": """
measure=2 -> measure = 2: must be a whole number of at least 3
window=[2,4] -> window = [2, 4]: must be [start, end], at least 3 epochs apart
epochs=2 -> epochs = 2: must be a whole number of at least 3
speed=[0.5] -> speed = [0.5]: must be numbers above 1
""",
    "phase_diagram": """
iterations=9 -> iterations = 9: must be a whole number of at least 10
J0_over_J={low:-1,high:2} -> J0_over_J.bins: must be given
J0_over_J={low:1,high:1,bins:3} -> J0_over_J.high = 1: must be above low = 1
J0_over_J={low:0,high:inf,bins:3} -> J0_over_J.high = inf: must be a number
inverse_J={low:-1.1,high:1,bins:3} -> inverse_J.low = -1.1: must be a number of at least 0
finite_size=3 -> finite_size = 3: must have N, matrices, iterations, inverse_J
""",
    "picture": """
image=360 -> image = 360: must be below 360, the number of test images
layers=[7] -> layers = 7: must be at most 6, the last layer that is measured
layers=[] -> layers = []: must be a list of layers, or null for 5 of them
datamodule=random_inputs -> model.input_shape = [100]: must be (channels, height, width), as a datamodule of
initializers=null -> initializers = none: must name at least one, as +initializer@initializers.NAME=NAME
model=fully_connected -> layers = 1: hidden.0.activation is of shape (100,), where a picture needs
""",
    "diagnose": """
+thresholds.spread=2 -> thresholds.spread = 2: no such setting; there are beta, dead, drift, normalized
thresholds=2 -> thresholds = 2: must be set one by one, as thresholds.drift=
""",
}
# What only a whole script shows, and one of each that can be seen without: script, typed, the beginning of the line.
TYPED = [
    ("train", "datamodule=cifar100", "datamodule = cifar100: no such option; there are cifar10, cifar10_or_digits, "),
    ("train", "model.depth", "model.depth: not an override, which is key=value ("),
    ("train", "model.depth=${{deep}}", "model.depth: Interpolation key 'deep' not found"),
    ("train", "hydra.run.dir={world}/mine", "hydra.run.dir = {world}/mine: holds no run, but figures, which a run "),
    ("train", "hydra.run.dir={world}/run model.depth=9", "hydra.run.dir = {world}/run: already holds a run of an"),
    ("weight_decay", "depth=3", "depth = 3: is that of a family"),
    ("diagnose", "out=nowhere/verdict.json", "nowhere/verdict.json: No such file or directory"),
]  # fmt: skip
CHECKS: dict[str, Callable[[Job, DictConfig], object]] = {
    **STARTS,
    "range_test": lambda job, config: check_settings(job.config),
    "phase_diagram": lambda job, config: settings_from(PhaseDiagramSettings, job.config),
    "diagnose": lambda job, config: diagnose_config(job.config),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, trained) -> Path:
    """A finished run, one cut off in its second epoch, broken checkpoints, a file, a figure, and a user's classes."""
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
def test_a_mistake_is_one_line_and_loses_nothing(world, tmp_path, monkeypatch, script, line):
    monkeypatch.syspath_prepend(str(world))
    monkeypatch.chdir(tmp_path)
    written_out = line.replace("{run}", "{world}/run/checkpoints/last.ckpt").replace("{world}", str(world))
    typed, expected = written_out.split(" -> ")
    words = typed.split()
    directory = tmp_path / "new"
    if words[0].startswith("hydra.run.dir="):
        directory = Path(words.pop(0).partition("=")[2])
    before = hashes(world) if written_out != line else None
    with pytest.raises(Exception) as raised:
        config = composed_of(script, *words)
        CHECKS[script](Job(plain(config), directory), config)
    assert is_users_mistake(raised.value)
    said = error_message(raised.value)
    assert said.startswith(expected)
    assert "\n" not in said
    assert "HYDRA_FULL_ERROR" not in said or " = " not in expected  # where no setting can be named
    assert before is None or hashes(world) == before
    if summary := RunDirectory(directory).summary() if directory == tmp_path / "new" else None:  # free for any other
        assert summary["status"] == "failed"
        assert said.startswith(summary["reason"].removeprefix("ValueError: "))
        assert not (directory / "runs").exists()


@pytest.mark.parametrize(("script", "typed", "expected"), TYPED, ids=[" ".join(case[:2]) for case in TYPED])
def test_so_it_is_through_the_whole_script(world, shell, tmp_path, script, typed, expected):
    before, words = hashes(world), typed.format(world=world).split()
    status, output, errors = shell(script, *QUICK[script], "hydra.run.dir=new", *words)
    assert (status, output) == (1, [])
    [line] = errors
    assert line.startswith(f"error: {expected.format(world=world)}")
    assert hashes(world) == before
    assert not list((tmp_path / "new").glob("runs/*"))


def test_the_same_calls_without_a_mistake_succeed_where_one_with_a_mistake_was(tmp_path):
    for script, mistake in (("train", "model.depth=0"), ("simulate", "nets=1"), ("picture", "layers=[7]")):
        with pytest.raises(ValueError):
            start(script, tmp_path / script, mistake)
        start(script, tmp_path / script)
        assert RunDirectory(tmp_path / script).summary()["status"] == "completed"


def test_a_gpu_that_is_not_there(config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"^trainer.accelerator = 'gpu': this machine has no GPU; cpu does without$"):
        train_job(Job(config("trainer=gpu", "trainer.devices=1"), tmp_path))
    with pytest.raises(ValueError, match=r"^device = 'cuda': this machine has no GPU; cpu does without$"):
        settings_from(PhaseDiagramSettings, plain(composed_of("phase_diagram", "device=cuda")))


def test_evaluating_what_is_no_run(shell, world):
    nothing = world / "no_checkpoint"
    for typed, said in (
        (world / "nowhere", f"RUN_DIRECTORY = {world}/nowhere: holds no run (no config.yaml)"),
        (nothing, f"checkpoint = {nothing}/checkpoints/last.ckpt: there is no such file"),
    ):
        assert shell("evaluate", str(typed)) == (1, [], [f"error: {said}"])


def test_so_it_is_in_a_process_with_every_default(tmp_path):
    """One line, nothing of W&B's, and a traceback only where it is asked for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    typed = (SCRIPTS / "train.py", "datamodule.batch_size=5000", "hydra.run.dir=new")
    ended = run(*typed, cwd=tmp_path, env=kept)
    said = "datamodule.batch_size = 5000: larger than the 1293 training samples"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"error: {said}\n")
    assert not (tmp_path / "new" / "wandb").exists()
    ended = run(*typed, cwd=tmp_path, env={**kept, "HYDRA_FULL_ERROR": "1"})
    assert ended.returncode == 1
    assert "Traceback (most recent call last)" in ended.stderr
    assert f"ValueError: {said}" in ended.stderr
