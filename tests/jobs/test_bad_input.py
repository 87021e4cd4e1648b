"""A table of mistakes: each ends with status 1 and one line that names the setting, and costs no earlier run a byte."""

import hashlib
import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torchvision
from omegaconf import DictConfig
from PIL import Image

from scripts.evaluate import main as evaluate
from scripts.train import main as train
from src.jobs.command_line import is_users_mistake, one_line
from src.jobs.composed import plain
from src.jobs.diagnose import diagnose_config
from src.jobs.phase_diagram_settings import Settings
from src.jobs.picture import look
from src.jobs.record import Job
from src.jobs.train import check_settings
from src.jobs.train import train as train_job
from src.runs.directory import RunDirectory
from tests.forked import run
from tests.jobs.composing import QUICK, STARTS, composed_of, start
from tests.jobs.conftest import CONF, SMALL
from tests.jobs.test_resume import interrupted

SCRIPTS = CONF.parent / "scripts"
USERS = """
import torch
from torch import nn

def nan_(weight):
    weight.fill_(float("nan"))

def infinite_(weight, generator):
    weight.fill_(float("inf"))

def constant_(weight, value):
    weight.fill_(value)

class Nothing(nn.Module):
    def __init__(self, input_size, classes):
        super().__init__()

    def forward(self, inputs):
        return inputs

class Bottleneck(nn.Module):
    def __init__(self, input_size, classes, *, more=0):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(input_size + more, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, inputs):
        return self.net(inputs)

class Looking(Bottleneck):  # at its data, which vmap cannot
    def forward(self, inputs):
        return self.net(inputs) if inputs.sum() > 0 else self.net(-inputs)

class Picture(nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(nn.Conv2d(input_shape[0] + 1, 4, 3), nn.ReLU(), nn.Linear(classes, classes))
"""

# What is typed, and how the line goes on after `error: `. {world}: see the fixture.
MISTAKES = {
    "train": """
+model.kernel=3 -> model.kernel = 3: no such setting; there are activation, depth, dropout, width, widths
+trainer.logger=true -> trainer.logger = True: no such setting; there are accelerator,
~optimizer -> optimizer._target_ = None: must be package.module.name, of a class or function
model._target_=src.models.Mlp -> model._target_ = 'src.models.Mlp': cannot be imported (
+callbacks.mine._target_=nowhere.Mine -> callbacks.mine._target_ = 'nowhere.Mine': cannot be imported (
model.depth=0 -> model.depth = 0: must be a whole number of at least 1
model.widths=10 -> model.widths = 10: must be a list with at least one width
model=residual model.scales=[0.5,0.5] -> model.scales = [0.5, 0.5]: must be constant or inverse_depth or geometric or
model.activation=swish -> model.activation = 'swish': must be one of gelu, leaky_relu, linear, relu, silu, tanh
model.dropout=1 -> model.dropout = 1: must be a fraction, at least 0 and below 1
initializer.distribution=cauchy -> initializer.distribution = 'cauchy': must be one of normal,
initializer={_target_:odd_users.nan_,_partial_:true} -> initializer = odd_users.nan_: left non-finite
readout_initializer={_target_:odd_users.infinite_,_partial_:true} -> readout_initializer = odd_users.infinite_:
initializer={_target_:odd_users.constant_} -> initializer: constant_() missing 1 required
optimizer.lr=high -> optimizer.lr = 'high': must be a number above 0
optimizer.momentum=-0.5 -> optimizer.momentum = -0.5: must be a fraction, at least 0 and below 1
optimizer.weight_decay=-1 -> optimizer.weight_decay = -1: must be a number of at least 0
optimizer=adam optimizer.betas=[0.9,1.5] -> optimizer: Invalid beta parameter at index 1: 1.5
schedule=torch -> schedule._target_ = None: must be package.module.name, of a class or function
{STEP_LR} +schedule.step=3 -> schedule.step = 3: no such setting; there are gamma, last_epoch, step_size
{STEP_LR} -> schedule: StepLR.__init__() missing 1 required
schedule=one_cycle schedule.start=2 -> schedule.start = 2: must be a share of optimizer.lr, above 0 and at most 1
schedule=one_cycle schedule.momentum=[0.85,0.95] -> schedule.momentum = [0.85, 0.95]: must be no lower at the lowest
schedule=one_cycle optimizer={_target_:torch.optim.Adagrad,lr:0.1} -> schedule.momentum = [0.95, 0.85]: Adagrad has none
schedule=triangular schedule.cycle_epochs=4 -> schedule.cycle_epochs = 4: longer than the run, which has 3
schedule=triangular trainer.max_steps=14 -> schedule.cycle_epochs = 2: longer than the run, which has 1.27
seed=1.5 -> seed = 1.5: must be a whole number of at least 0
seed=9223372036854775808 -> seed = 9223372036854775808: must be below 2^63
trainer.accelerator=npu -> trainer.accelerator = 'npu': must be one of auto, cpu, cuda, gpu, mps
trainer.max_epochs=0 -> trainer.max_epochs = 0: must be a whole number of at least 1
trainer.max_epochs=-1 -> trainer.max_epochs = -1: needs a trainer.max_steps, or training would never end
trainer.precision=foo -> trainer.precision = 'foo': Precision 'foo' is invalid. Allowed precision values: (
trainer.strategy=magic -> trainer.strategy = 'magic': You selected an invalid strategy name:
+trainer.overfit_batches=3 -> trainer.overfit_batches = 3: the batches are drawn anew in each epoch
callbacks.lengths.modules=[conv*] -> callbacks.lengths.modules = 'conv*': matches none of hidden,
callbacks=phase callbacks.phase.iterations=1 -> callbacks.phase.iterations = 1: must be a whole number of at least 2
callbacks=phase callbacks.test_metrics.every_n_epochs=0 -> callbacks.test_metrics.every_n_epochs = 0: must be a whole
callbacks=start_of_training callbacks.start_of_training.threshold=0 -> callbacks.start_of_training.threshold = 0:
callbacks=range_test callbacks.range_test.min_lr=10 -> callbacks.range_test.min_lr = 10: must be below max_lr
callbacks=range_test callbacks.range_test.steps=99 -> callbacks.range_test.val_points = 100: must not be more than the
callbacks=range_test callbacks.range_test.max_lr=-1 -> callbacks.range_test.max_lr = -1: must be a number ab
callbacks=range_test callbacks.range_test.ramp=cosine -> callbacks.range_test.ramp = 'cosine': must be one of
callbacks=range_test callbacks.range_test.val_samples=0 -> callbacks.range_test.val_samples = 0: must be a whole number
callbacks=start_of_training callbacks.start_of_training.threshold=20 -> callbacks.start_of_training.threshold = 20:
callbacks=start_of_training callbacks.start_of_training.every_n_steps=0 -> callbacks.start_of_training.every_n_steps = 0
callbacks=range_test datamodule.validation=0 -> datamodule.validation = 0: a range test needs validation data
datamodule.batch_size=5000 -> datamodule.batch_size = 5000: larger than the 1293 training samples
datamodule.batch_size=1 trainer=ddp_cpu -> datamodule.batch_size = 1: smaller than the number of ranks, 2
datamodule=mnist datamodule.data_dir={world}/nothing -> datamodule.data_dir = '{world}/nothing': no MNIST in
datamodule=mnist datamodule.data_dir={world}/idx -> datamodule.data_dir = '{world}/idx': the training files in
datamodule=image_folder datamodule.folder={world}/nowhere -> datamodule.folder = '{world}/nowhere': no directory
datamodule=image_folder datamodule.folder={world}/bad -> datamodule.folder = '{world}/bad': {world}/bad/dog/1.png cannot
ckpt_path={world}/half.ckpt -> ckpt_path = {world}/half.ckpt: is not a whole checkpoint (
ckpt_path={world}/text.ckpt -> ckpt_path = {world}/text.ckpt: is not a whole checkpoint (
ckpt_path={world}/foreign.ckpt -> ckpt_path = {world}/foreign.ckpt: is not a checkpoint of a run, which holds
{CKPT} model.width=21 -> {CKPT_IS}: is of another architecture (hidden.0.linear.weight: 16×64 in the checkpoint
{CKPT} optimizer=adam -> {CKPT_IS}: is of another optimizer than Adam
{CKPT} trainer.max_epochs=1 -> trainer.max_epochs = 1: You restored a checkpoint with current_
ckpt_path={world}/cut/checkpoints/last.ckpt datamodule.batch_size=64 -> datamodule.batch_size = 64: the checkpoint
hydra.run.dir={world}/run model.depth=9 -> hydra.run.dir = {world}/run: already holds a run of another config (
hydra.run.dir={world}/run trainer=ddp_cpu trainer.devices=257 -> datamodule.batch_size = 128: smaller than the
hydra.run.dir={world}/run ckpt_path={world}/half.ckpt -> ckpt_path = {world}/half.ckpt: is not a whole
hydra.run.dir={world}/run +logger.wandb._target_=nowhere.W -> logger.wandb._target_ = 'nowhere.W': cannot be
""",
    "range_test": """
datamodule.validation=0 -> datamodule.validation = 0: a range test needs validation data
callbacks.range_test.min_lr=20 -> callbacks.range_test.min_lr = 20:
optimizer.weight_decay=-1e-4 -> optimizer.weight_decay = -0.0001: must be a number of at least 0
""",
    "simulate": """
nets=1 -> nets = 1: must be a whole number of at least 2
samples=0 -> samples = 0: must be a whole number of at least 1
seed=-1 -> seed = -1: must be a whole number of at least 0
sampler=wrong -> sampler = 'wrong': must be one of auto, layerwise, reference, vectorized
sampler=layerwise model.dropout=0.5 -> sampler = layerwise: knows no FullyConnected, or not with dropout
model={_target_:odd_users.Bottleneck} sampler=layerwise -> sampler = layerwise: knows no Bottleneck, or
model={_target_:odd_users.Looking} sampler=vectorized -> sampler = 'vectorized': torch cannot vectorize
model={_target_:odd_users.Nothing} -> model: Nothing: has neither activation modules nor modules with weights
model={_target_:odd_users.Bottleneck,more:1} -> model = odd_users.Bottleneck: fails on samples = 1 of shape (100,) (Runt
device=cuda:99 -> device = 'cuda:99': no such device here
device=meta -> device = 'meta': nets are sampled on cpu or cuda
initializer={_target_:odd_users.nan_} -> initializer = odd_users.nan_: gives lengths that are not numbers
initializer={_target_:odd_users.nan_} sampler=reference -> initializer = odd_users.nan_: left non-finite weights
hydra.run.dir={world}/simulation seed=1 -> hydra.run.dir = {world}/simulation: already holds a run of another
""",
    "search": """
search=weight_decay search.values=[1e-3] -> search.values = [0.001]: must be at least two weight decays
search=weight_decay search.values=[1e-3,-1e-4] -> search.values = -0.0001: must be a number of at least 0
search=weight_decay search.values=abc -> search.values = 'abc': must be a list of at least one
search=weight_decay search.rounds=-1 -> search.rounds = -1: must be a whole number of at least 0
search=weight_decay search.best=0 -> search.best = 0: must be a whole number of at least 1
seeds=0 -> seeds = 0: must be a whole number of at least 1
datamodule.validation=0 -> datamodule.validation = 0: a range test needs validation data
trainer=ddp_cpu -> trainer.devices = 2: its runs are trained one after the other in one process
range_tests=none -> range_tests = none: must hold a range_test
range_tests=0.5 -> range_tests = 0.5: must hold a range_test
range_tests=[range_test] -> range_tests = ['range_test']: must hold a range_test
range_tests.range_test.min_lr=100 -> callbacks.range_test.min_lr = 100:
search=momentum search.constant=[] -> search.constant = []: must be a list of at least one
search=momentum search.constant=[1.0] -> search.constant = 1.0: must be a fraction
search=momentum search.cyclical=[0.9] -> search.cyclical = 0.9: must hold lists, [at the lowest rate, at
search=momentum search.cyclical=[[0.8,0.9]] -> search.cyclical = [0.8, 0.9]: must be no lower at the lowest
search=momentum schedule=cosine -> schedule.momentum = none: must be there to be chosen
search=batch_size search.values=[] -> search.values = []: must be a list of at least one
search=batch_size search.seconds=0 -> search.seconds = 0: must be a number above 0
search=batch_size search.seconds=1e-3 -> search.seconds = 0.001: less than 3 epochs of batch size 32, of
""",
    "recipe": """
budget=0 -> budget = 0: must be a whole number of at least 1
budget=4 -> budget = 4: 5 range tests of 20 steps and 2 runs of 1 epochs take
budget=12 -> budget = 12: 5 range tests of 20 steps and 2 runs of 1 epochs take 12 epochs, which leaves
trainer.max_steps=20 -> trainer.max_steps = 20: would cut runs short
trainer.accumulate_grad_batches=abc -> trainer.accumulate_grad_batches = 'abc': must be a whole number
weight_decays=[1e-3] -> weight_decays = [0.001]: must be at least two weight decays
momenta=[] -> momenta = []: must be a list of at least one
momenta=[[1.5]] -> momenta = 1.5: must be a fraction
times=0 -> times = 0: must be a whole number of at least 1
baseline_lrs=[0] -> baseline_lrs = 0: must be a number above 0
baseline_lrs=[] -> baseline_lrs = []: must be a list of at least one
test_share=0 -> test_share = 0: must be a number above 0
test_share=2 -> test_share = 2.0: must be a fraction
trainer=ddp_cpu -> trainer.devices = 2: its runs are trained one after the other in one process
""",
    "weight_decay": """
initializer.J=0 -> initializer.J = 0: must be a number above 0
optimizer.momentum=1 -> optimizer.momentum = 1: must be a fraction
measure=2 -> measure = 2: must be a whole number of at least 3
window=[2,4] -> window = [2, 4]: must be [start, end], at least 3 epochs apart
window=[4,9] -> window = [4, 9]: must end within the 8 epochs
window=abc -> window = abc: must be [start, end]
skip=1 -> skip = 1: must be a fraction
seeds=0 -> seeds = 0: must be a whole number of at least 1
train=maybe -> train = 'maybe': must be true or false
epochs=2 -> epochs = 2: must be a whole number of at least 3
factors=[] -> factors = []: must be a list of at least one
factors=[-1] -> factors = -1: must be a number of at least 0
speed=[0.5] -> speed = [0.5]: must be numbers above 1
callbacks=none -> callbacks = none: must hold phase
callbacks=lengths -> callbacks = lengths: must hold phase
trainer.max_steps=20 -> trainer.max_steps = 20: would cut runs short
model.window=3 -> model.window = 3: must divide the sides of images
""",
    "phase_diagram": """
N=1 -> N = 1: must be a whole number of at least 2
matrices=0 -> matrices = 0: must be a whole number of at least 1
average=0 -> average = 0: must be a whole number of at least 1
iterations=9 -> iterations = 9: must be a whole number of at least 10
seed=-1 -> seed = -1: must be a whole number of at least 0
inverse_J.low=-1 -> inverse_J.low = -1: must be at least 0
inverse_J.high=0 -> inverse_J.high = 0: must be above inverse_J.low = 0
inverse_J.bins=0 -> inverse_J.bins = 0: must be a whole number of at least 1
J0_over_J.low=2 -> J0_over_J.high = 2: must be above J0_over_J.low = 2
J0_over_J.high=.inf -> J0_over_J.high = '.inf': must be a number
J0_over_J={low:-1,high:2} -> J0_over_J = {'low': -1, 'high': 2}: must have low, high and bins
activations=[gelu] -> activations = 'gelu': must be one of relu, tanh
activations=[] -> activations = []: must be a list of at least one
finite_size.N=100 -> finite_size.N = 100: must be a list of at least one
finite_size.N=[1] -> finite_size.N = 1: must be a whole number of at least 2
finite_size.matrices=0 -> finite_size.matrices = 0: must be a whole number of at least 1
finite_size.inverse_J.low=-0.1 -> finite_size.inverse_J.low = -0.1: must be at least 0
finite_size=3 -> finite_size = 3: must be null, or have N, matrices, iterations, inverse_J
device=mps -> device = 'mps': must be one of cpu, cuda
size=large -> size = 'large': must be one of full, small
""",
    "picture": """
image=360 -> image = 360: must be below 360, the number of test images
seed=-1 -> seed = -1: must be a whole number of at least 0
layers=[7] -> layers = 7: must be at most 6, the last layer that is measured
layers=[0] -> layers = 0: must be a whole number of at least 1
layers=[] -> layers = []: must be a list of layers, or null for 5 of them
layers=3 -> layers = 3: must be a list of layers, or null for 5 of them
model.padding=same -> model.padding = 'same': must be one of circular, zeros
model.channels=[4,4] -> model.channels = [4, 4]: must be a number or a list of 6, one per layer
datamodule=random_inputs -> model.input_shape = (100,): must be (channels, height, width), as a datamodule of
initializers.he_normal.scale=0 -> initializers.he_normal.scale = 0: must be a number above 0
initializers=null -> initializers = none: must name at least one, as +initializer@initializers.NAME=NAME
model=fully_connected -> layers = 1: hidden.0.activation is of shape (100,), where a picture needs
model={_target_:odd_users.Picture} -> model = odd_users.Picture: fails on an image
""",
    "diagnose": """
nets=1 -> nets = 1: must be a whole number of at least 2
samples=0 -> samples = 0: must be a whole number of at least 1
samples=5000 -> samples = 5000: larger than the 1293 training samples
seed=-1 -> seed = -1: must be a whole number of at least 0
thresholds.drift=-1 -> thresholds.drift = -1: must be a number above 0
thresholds.dead=2 -> thresholds.dead = 2: must be a fraction, at least 0 and below 1
+thresholds.spread=2 -> thresholds.spread = 2: no such setting; there are beta, dead, drift, normalized
thresholds=2 -> thresholds = 2: must be set one by one, as thresholds.drift=
modules=[conv*] -> modules = 'conv*': matches none of hidden,
modules=relu -> modules = 'relu': must be a list of name patterns
model={_target_:odd_users.Nothing} -> Nothing: has neither activation modules nor modules with weights to measure
out=nowhere/verdict.json -> nowhere/verdict.json: No such file or directory
""",
}
# What only a whole script shows, and one of each that can be seen without: script, typed, the beginning of the line.
TYPED = [
    ("train", "datamodule=cifar100", "datamodule = cifar100: no such option; there are cifar10, cifar10_or_digits, "),
    ("train", "data=mnist", "data = mnist: no such key; there are callbacks, ckpt_path, "),
    ("train", "optimizer.rate=1", "optimizer.rate = 1: no such key; there are lr, momentum, nesterov, weight_decay ("),
    ("train", "model.widths=[30,10", "model.widths=[30,10: not an override, which is key=value ("),
    ("train", "model.depth", "model.depth: not an override, which is key=value ("),
    ("train", "model.depth=${{deep}}", "model.depth: Interpolation key 'deep' not found"),
    ("train", "hydra.run.dir={world}/file/run", "hydra.run.dir = {world}/file/run: cannot be written to (Not a "),
    ("train", "hydra.run.dir={world}/mine", "hydra.run.dir = {world}/mine: holds no run, but figures, which a run "),
    ("train", "hydra.run.dir={world}/run model.depth=9", "hydra.run.dir = {world}/run: already holds a run of an"),
    ("simulate", "figure={{_target_:nowhere.draw}}", "figure._target_ = 'nowhere.draw': cannot be imported ("),
    ("simulate", "hydra.run.dir={world}/cut nets=51", "hydra.run.dir = {world}/cut: already holds a run of another "),
    ("search", "search=nothing", "search = nothing: no such option; there are batch_size, momentum, weight_decay"),
    ("search", "depth=3", "depth = 3: is that of a family"),
    ("recipe", "budget=4", "budget = 4: 5 range tests of 20 steps and 2 runs of 1 epochs take "),
    ("weight_decay", "depth=3", "depth = 3: is that of a family"),
    ("phase_diagram", "units=10", "units = 10: no such key; there are "),
    ("picture", "+initializer@initializers.x=no", "initializer = no: no such option; there are critical, glorot"),
    ("diagnose", "out=nowhere/verdict.json", "nowhere/verdict.json: No such file or directory"),
]  # fmt: skip
CHECKS: dict[str, Callable[[Job, DictConfig], object]] = {
    **STARTS,
    "range_test": lambda job, config: check_settings(job.config),
    "phase_diagram": lambda job, config: Settings.of(job.config),
    "picture": lambda job, config: look(job.config),
    "diagnose": lambda job, config: diagnose_config(job.config),
}
SHORT = {
    "{STEP_LR}": "schedule=torch schedule._target_=torch.optim.lr_scheduler.StepLR",
    "{CKPT}": "ckpt_path={world}/run/checkpoints/last.ckpt",
    "{CKPT_IS}": "ckpt_path = {world}/run/checkpoints/last.ckpt",
}


def written_out(text: str, world: Path) -> str:
    for short, full in SHORT.items():
        text = text.replace(short, full)
    return text.replace("{world}", str(world))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, trained) -> Path:
    """A finished run, one cut off in its second epoch, and simulations alike; broken checkpoints, data, and classes."""
    world = tmp_path_factory.mktemp("world")
    shutil.copytree(trained(), world / "run")
    interrupted(plain(composed_of("train")), world / "cut", 14)
    start("simulate", world / "simulation")
    break_checkpoints(world)
    break_data(world)
    (world / "odd_users.py").write_text(USERS)
    (world / "file").write_text("no directory")
    (world / "mine" / "figures").mkdir(parents=True)
    (world / "mine" / "figures" / "paper.pdf").write_text("years of work")
    return world


def break_checkpoints(world: Path) -> None:
    whole = RunDirectory(world / "run").checkpoint.read_bytes()
    for name, content in (("half", whole[: len(whole) // 2]), ("empty", b""), ("text", b"hello\n")):
        (world / f"{name}.ckpt").write_bytes(content)
    torch.save({"state_dict": {}}, world / "foreign.ckpt")
    (world / "no_checkpoint").mkdir()
    (world / "no_checkpoint" / "config.yaml").write_bytes((world / "run" / "config.yaml").read_bytes())


def break_data(world: Path) -> None:
    for path in ("one/cat", "none/cat", "none/dog", "bad/cat", "bad/dog", "nothing", "idx/MNIST/raw"):
        (world / path).mkdir(parents=True)
    for path in ("one/cat", "bad/cat"):
        Image.new("RGB", (8, 8)).save(world / path / "1.png")
    (world / "bad/dog/1.png").write_bytes(b"\x89PNG")
    for name in torchvision.datasets.MNIST.resources:
        (world / "idx/MNIST/raw" / name[0].removesuffix(".gz")).write_bytes(bytes([0, 0, 8, 1, 0, 0]))


@pytest.fixture
def users(world, monkeypatch) -> None:
    """The user's module can be imported, and nothing be downloaded, also where there is a network."""
    monkeypatch.syspath_prepend(str(world))
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["file:///nowhere/"])


def hashes(directory: Path) -> dict[Path, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.suffix not in (".lock", ".pyc"))
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name != ".lock"}


CASES = [(script, line) for script, lines in MISTAKES.items() for line in lines.strip().splitlines()]


@pytest.mark.parametrize(("script", "line"), CASES, ids=[f"{script} {line.split(' ->')[0]}" for script, line in CASES])
def test_a_mistake_is_one_line_and_loses_nothing(world, users, tmp_path, monkeypatch, script, line):
    monkeypatch.chdir(tmp_path)
    typed, expected = written_out(line, world).split(" -> ")
    words = typed.split()
    directory = tmp_path / "new"
    if words[0].startswith("hydra.run.dir="):
        directory = Path(words.pop(0).partition("=")[2])
    before = hashes(world) if "{world}" in line or "{CKPT}" in line else None
    with pytest.raises(Exception) as raised:
        config = composed_of(script, *words)
        CHECKS[script](Job(plain(config), directory), config)
    assert is_users_mistake(raised.value)
    said = one_line(raised.value)
    assert said.startswith(expected)
    assert "\n" not in said
    assert "HYDRA_FULL_ERROR" not in said or " = " not in expected  # where no setting can be named
    assert before is None or hashes(world) == before
    if summary := RunDirectory(directory).summary() if directory == tmp_path / "new" else None:  # free for any other
        assert summary["status"] == "failed"
        assert said.startswith(summary["reason"].removeprefix("ValueError: "))
        assert not (directory / "runs").exists()


@pytest.mark.parametrize(("script", "typed", "expected"), TYPED, ids=[" ".join(case[:2]) for case in TYPED])
def test_so_it_is_through_the_whole_script(world, users, shell, tmp_path, script, typed, expected):
    main = import_module(f"scripts.{script}")
    before, words = hashes(world), typed.format(world=world).split()
    main = main.main_and_figure if script == "simulate" else main.main
    status, output, errors = shell(SCRIPTS / f"{script}.py", main, *QUICK[script], "hydra.run.dir=new", *words)
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


def test_more_gpus_than_there_are(config, tmp_path, monkeypatch):
    for there, devices, said in (
        (0, "1", "trainer.accelerator = 'gpu': this machine has no GPU; cpu does without"),
        (1, "2", "trainer.devices = 2: this machine has 1 GPU"),
        (2, "3", "trainer.devices = 3: this machine has 2 GPUs"),
        (2, "[0,2]", "trainer.devices = [0, 2]: this machine has GPUs 0 to 1"),
    ):
        monkeypatch.setattr(torch.cuda, "device_count", lambda there=there: there)
        with pytest.raises(ValueError) as raised:
            train_job(Job(config("trainer=gpu", f"trainer.devices={devices}"), tmp_path))
        assert str(raised.value) == said
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"^device = 'cuda': this machine has no GPU; cpu does without$"):
        Settings.of(plain(composed_of("phase_diagram", "device=cuda")))


def test_a_directory_that_another_process_is_writing(world, shell):
    run = RunDirectory(world / "run")
    run.claim(run.config())
    before = hashes(world)
    status, output, errors = shell(SCRIPTS / "train.py", train, *SMALL, f"hydra.run.dir={world}/run")
    run.release()
    assert (status, output) == (1, [])
    assert errors == [f"error: hydra.run.dir = {world}/run: another process is writing a run here"]
    assert hashes(world) == before


def test_a_multirun_says_each_mistake_in_a_line_and_at_the_end_and_runs_the_other_jobs(shell, tmp_path):
    typed = ("trainer.max_epochs=1", "callbacks=none", "seed=0,-1,1,-2", f"hydra.sweep.dir={tmp_path}/sweep")
    status, _, errors = shell(SCRIPTS / "train.py", train, "-m", *SMALL, *typed)
    assert status == 1
    whole = "must be a whole number of at least 0"
    assert errors[:2] == [f"error: seed = {seed}: {whole}" for seed in (-1, -2)]
    for seed, line in zip((-1, -2), errors[2:4], strict=True):
        assert line.startswith("failed: ")
        assert line.endswith(f"seed={seed} (ValueError: seed = {seed}: {whole})")
    assert errors[4:] == [f"go on: the same command with hydra.sweep.dir={tmp_path}/sweep"]
    summaries = [RunDirectory(path.parent).summary() for path in (tmp_path / "sweep").glob("*/summary.json")]
    assert sorted(s["status"] for s in summaries) == ["completed", "completed", "failed", "failed"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("{world}/nowhere", "RUN_DIRECTORY = {world}/nowhere: holds no run (no config.yaml)"),
        ("{world}/file", "RUN_DIRECTORY = {world}/file: holds no run (no config.yaml)"),
        ("{world}/no_checkpoint", "checkpoint = {world}/no_checkpoint/checkpoints/last.ckpt: there is no such file"),
        ("{world}/run --accelerator=npu", "--accelerator = 'npu': must be one of auto, cpu, cuda, gpu, mps"),
    ],
)
def test_evaluating_what_is_no_run(shell, world, typed, expected):
    before = hashes(world)
    ended = shell(SCRIPTS / "evaluate.py", evaluate, *typed.format(world=world).split(" "))
    assert ended == (1, [], [f"error: {expected.format(world=world)}"])
    assert hashes(world) == before


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
