"""A table of mistakes: each ends with status 1 and one line that names the setting, and costs no earlier run a byte."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from PIL import Image

from scripts.evaluate import main as evaluate
from scripts.train import main as train
from src.jobs.composed import plain
from src.jobs.record import Job
from src.jobs.train import train as train_job
from src.runs.directory import RunDirectory
from src.runs.outcome import Interrupted
from tests.jobs.conftest import CONF
from tests.jobs.signalling import SignalAtStep

SCRIPT = CONF.parent / "scripts" / "train.py"
QUICK = (  # 6 steps an epoch
    "model.width=20",
    "datamodule.batch_size=256",
    "trainer.max_epochs=2",
    "trainer.enable_progress_bar=false",
    "logger=csv",
)

INITIALIZERS = """
def nan_(weight):
    weight.fill_(float("nan"))

def infinite_(weight, generator):
    weight.fill_(float("inf"))

def constant_(weight, value):
    weight.fill_(value)
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Nets this small train fastest so, and on a busy machine many times faster."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run and one cut off in its second epoch, broken checkpoints, data and initializers."""
    world = tmp_path_factory.mktemp("world")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = plain(compose("train", list(QUICK)))
    train_job(Job(config, world / "run"))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("src.jobs.train.Divergence", lambda: SignalAtStep(8))
        train_job(Job(config, world / "cut"))
    break_checkpoints(world)
    break_data(world)
    (world / "broken.py").write_text(INITIALIZERS)
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
def attempt(world, shell, monkeypatch):
    """Call a script's main as the shell would: its exit status, and its lines on stdout and stderr."""
    monkeypatch.syspath_prepend(str(world))
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["file:///nowhere/"])  # also where there is a network
    return partial(shell, SCRIPT)


WHOLE = "must be a whole number of at least"
CHECKPOINT = "{world}/run/checkpoints/last.ckpt"
STEP_LR = "schedule=torch schedule._target_=torch.optim.lr_scheduler.StepLR"

# What is typed, and how the line goes on after `error: `, in full where every word is ours. {world}: see the fixture.
MISTAKES = [
    # which settings there are
    ("datamodule=cifar100", "datamodule = cifar100: no such option; there are cifar10, cifar10_or_digits, digits, "),
    ("data=mnist", "data = mnist: no such key; there are callbacks, ckpt_path, "),
    ("optimizer.rate=1", "optimizer.rate = 1: no such key; there are lr, momentum, nesterov, weight_decay (+optimizer"),
    ("callbacks.lengths.every=2", "callbacks.lengths.every = 2: no such key; there are every_n_steps, "),
    ("+model.kernel=3", "model.kernel = 3: no such setting; there are activation, depth, dropout, width, widths"),
    ("+optimizer.betas=[0.9,0.99]", "optimizer.betas = [0.9, 0.99]: no such setting; there are dampening, "),
    ("+trainer.epochs=3", "trainer.epochs = 3: no such setting; there are accelerator, "),
    ("+trainer.logger=true", "trainer.logger = True: no such setting; there are accelerator, "),  # set by the program
    ("~optimizer", "optimizer._target_ = None: must be package.module.name, of a class or function"),
    ("model._target_=src.models.Mlp", "model._target_ = 'src.models.Mlp': cannot be imported ("),
    ("+callbacks.mine._target_=nowhere.Mine", "callbacks.mine._target_ = 'nowhere.Mine': cannot be imported ("),
    ("+callbacks.mine.every=1", "callbacks.mine._target_ = None: must be package.module.name"),
    ("model.widths=[30,10", "model.widths=[30,10: not an override, which is key=value ("),
    ("model.depth", "model.depth: not an override, which is key=value ("),
    ("model.depth=${{deep}}", "model.depth: Interpolation key 'deep' not found"),
    # nets
    ("model.depth=0", f"model.depth = 0: {WHOLE} 1"),
    ("model.depth=-3", f"model.depth = -3: {WHOLE} 1"),
    ("model.depth=deep", f"model.depth = 'deep': {WHOLE} 1"),
    ("model.depth=2.5", f"model.depth = 2.5: {WHOLE} 1"),
    ("model.width=0", f"model.width = 0: {WHOLE} 1"),
    ("model.width=null", f"model.width = None: {WHOLE} 1"),
    ("model.widths=[]", "model.widths = []: must be a list with at least one width"),
    ("model.widths=10", "model.widths = 10: must be a list with at least one width"),
    ("model.widths=[10,0]", f"model.widths = 0: {WHOLE} 1"),
    ("model.widths=[10,-1]", f"model.widths = -1: {WHOLE} 1"),
    ("model=residual model.modules=0", f"model.modules = 0: {WHOLE} 1"),
    ("model=residual model.module_widths=5", "model.module_widths = 5: must be a list"),
    (
        "model=residual model.scales=[0.5,0.5]",
        "model.scales = [0.5, 0.5]: must be constant or inverse_depth or geometric or power, "
        "or a list of 10, one per module",
    ),
    ("model=residual model.scales=small", "model.scales = 'small': must be one of constant, geometric, "),
    ("model.activation=swish", "model.activation = 'swish': must be one of gelu, leaky_relu, linear, relu, silu, tanh"),
    ("model.dropout=1", "model.dropout = 1: must be a fraction, at least 0 and below 1"),
    # initializers
    ("initializer.distribution=cauchy", "initializer.distribution = 'cauchy': must be one of normal, "),
    (
        "initializer=torch_default initializer._target_=broken.nan_",
        "initializer = broken.nan_: left non-finite weights, where all must be finite, in layer hidden.0.linear",
    ),
    (
        "readout_initializer=torch_default readout_initializer._target_=broken.infinite_",
        "readout_initializer = broken.infinite_: left non-finite weights, where all must be finite, in layer readout",
    ),
    ("initializer=torch_default initializer._target_=broken.constant_", "initializer: constant_() missing 1 required "),
    ("initializer._target_=broken.nan_", "initializer.scale = 2.0: no such setting; there are none"),
    # optimizers, schedules, seeds
    ("optimizer.lr=0", "optimizer.lr = 0: must be a number above 0"),
    ("optimizer.lr=-0.1", "optimizer.lr = -0.1: must be a number above 0"),
    ("optimizer.lr=high", "optimizer.lr = 'high': must be a number above 0"),
    ("optimizer.momentum=-0.5", "optimizer.momentum = -0.5: must be a fraction, at least 0 and below 1"),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay = -1: must be a number of at least 0"),
    ("optimizer=adam optimizer.betas=[0.9,1.5]", "optimizer: Invalid beta parameter at index 1: 1.5"),
    ("schedule=linear", "schedule = linear: no such option; there are constant, cosine, inverse, one_cycle, step, "),
    ("schedule=torch", "schedule._target_ = None: must be package.module.name, of a class or function"),
    (f"{STEP_LR} +schedule.step=3", "schedule.step = 3: no such setting; there are gamma, last_epoch, step_size"),
    (STEP_LR, "schedule: StepLR.__init__() missing 1 required "),
    ("schedule=one_cycle schedule.peak=1", "schedule.peak = 1: no such key; there are cycle, end, momentum, start"),
    (
        "schedule=one_cycle schedule.cycle=1.2",
        "schedule.cycle = 1.2: must be the cycle's share of the run, above 0 and at most 1",
    ),
    ("schedule=one_cycle schedule.start=0", "schedule.start = 0: must be a number above 0"),
    (
        "schedule=one_cycle schedule.start=2",
        "schedule.start = 2: must be a share of optimizer.lr, above 0 and at most 1",
    ),
    ("schedule=cosine schedule.end=1.1", "schedule.end = 1.1: must be a share of optimizer.lr, at least 0 and"),
    (
        "schedule=one_cycle schedule.momentum=[0.85,0.95]",
        "schedule.momentum = [0.85, 0.95]: must be no lower at the lowest rate, which comes first",
    ),
    ("schedule=triangular schedule.momentum=[1.2,0.9]", "schedule.momentum = 1.2: must be a fraction, at least 0 and "),
    (
        "schedule=one_cycle optimizer._target_=torch.optim.Adagrad ~optimizer.momentum ~optimizer.nesterov",
        "schedule.momentum = [0.95, 0.85]: Adagrad has none to cycle; null leaves it out",
    ),
    ("schedule=triangular schedule.cycle_epochs=3", "schedule.cycle_epochs = 3: longer than the run, which has 2"),
    (
        "schedule=triangular trainer.max_steps=9",  # seen once the data are there: 1.5 epochs
        "schedule.cycle_epochs = 2: longer than the run, which has 1.5",
    ),
    ("schedule=step schedule.every_epochs=0", "schedule.every_epochs = 0: must be a number above 0"),
    ("schedule=step schedule.factor=2", "schedule.factor = 2: must be a share of optimizer.lr, above 0 and at most 1"),
    ("schedule=inverse schedule.gamma=-1", "schedule.gamma = -1: must be a number above 0"),
    ("seed=-1", f"seed = -1: {WHOLE} 0"),
    ("seed=1.5", f"seed = 1.5: {WHOLE} 0"),
    ("seed=lucky", f"seed = 'lucky': {WHOLE} 0"),
    (f"seed={2**63}", f"seed = {2**63}: must be below 2^63"),
    # trainers and callbacks
    ("trainer.accelerator=npu", "trainer.accelerator = 'npu': must be one of auto, cpu, cuda, gpu, mps"),
    ("trainer.devices=0", f"trainer.devices = 0: {WHOLE} 1"),
    ("trainer.max_epochs=0", f"trainer.max_epochs = 0: {WHOLE} 1"),
    ("trainer.max_epochs=-1", "trainer.max_epochs = -1: needs a trainer.max_steps, or training would never end"),
    ("trainer.precision=foo", "trainer.precision = 'foo': Precision 'foo' is invalid. Allowed precision values: ("),
    ("trainer.strategy=magic", "trainer.strategy = 'magic': You selected an invalid strategy name: "),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val = -1: must be a number of at least 0"),
    ("+trainer.overfit_batches=3", "trainer.overfit_batches = 3: the batches are drawn anew in each epoch"),
    ("callbacks.lengths.every_n_steps=0", f"callbacks.lengths.every_n_steps = 0: {WHOLE} 1"),
    ("callbacks.lengths.modules=[conv*]", "callbacks.lengths.modules = 'conv*': matches none of hidden, "),
    ("callbacks=range_test callbacks.range_test.min_lr=10", "callbacks.range_test.min_lr = 10: must be below max_lr"),
    ("callbacks=range_test callbacks.range_test.max_lr=-1", "callbacks.range_test.max_lr = -1: must be a number ab"),
    (
        "callbacks=range_test callbacks.range_test.steps=99",
        "callbacks.range_test.val_points = 100: must not be more than the 99 steps",
    ),
    (
        "callbacks=range_test callbacks.range_test.ramp=cosine",
        "callbacks.range_test.ramp = 'cosine': must be one of exponential, linear",
    ),
    ("callbacks=range_test callbacks.range_test.val_samples=0", f"callbacks.range_test.val_samples = 0: {WHOLE} 1"),
    ("callbacks=range_test optimizer.weight_decay=-1e-4", "optimizer.weight_decay = -0.0001: must be a number of at "),
    ("callbacks=range_test datamodule.validation=0", "datamodule.validation = 0: "),
    # data
    ("datamodule.batch_size=0", f"datamodule.batch_size = 0: {WHOLE} 1"),
    ("datamodule.batch_size=5000", "datamodule.batch_size = 5000: larger than the 1293 training samples"),
    (
        "datamodule.batch_size=1 trainer=ddp_cpu",
        "datamodule.batch_size = 1: smaller than the number of ranks, 2",
    ),
    ("datamodule.validation=1", "datamodule.validation = 1: must be a fraction, at least 0 and below 1"),
    ("datamodule=random_inputs datamodule.classes=1", f"datamodule.classes = 1: {WHOLE} 2"),
    (
        "datamodule=mnist datamodule.data_dir={world}/nothing",
        "datamodule.data_dir = '{world}/nothing': no MNIST in {world}/nothing/MNIST/raw, and it cannot be downloaded (",
    ),
    (
        "datamodule=mnist datamodule.data_dir={world}/idx",
        "datamodule.data_dir = '{world}/idx': the training files in {world}/idx/MNIST/raw are truncated or corrupted (",
    ),
    (
        "datamodule=image_folder datamodule.folder={world}/nowhere",
        "datamodule.folder = '{world}/nowhere': no directory ",
    ),
    (
        "datamodule=image_folder datamodule.folder={world}/nothing",
        "datamodule.folder = '{world}/nothing': no subdirectories, one per class, in {world}/nothing",
    ),
    (
        "datamodule=image_folder datamodule.folder={world}/none",
        "datamodule.folder = '{world}/none': no images in {world}/none/cat",
    ),
    (
        "datamodule=image_folder datamodule.folder={world}/one",
        "datamodule.folder = '{world}/one': a single class, cat; there must be two or more",
    ),
    (
        "datamodule=image_folder datamodule.folder={world}/bad",
        "datamodule.folder = '{world}/bad': {world}/bad/dog/1.png cannot be read as an image (",
    ),
    # checkpoints
    ("ckpt_path={world}/no.ckpt", "ckpt_path = {world}/no.ckpt: there is no such file"),
    ("ckpt_path={world}/half.ckpt", "ckpt_path = {world}/half.ckpt: is not a whole checkpoint ("),
    ("ckpt_path={world}/empty.ckpt", "ckpt_path = {world}/empty.ckpt: is not a whole checkpoint (EOFError)"),
    ("ckpt_path={world}/text.ckpt", "ckpt_path = {world}/text.ckpt: is not a whole checkpoint ("),
    ("ckpt_path={world}/foreign.ckpt", "ckpt_path = {world}/foreign.ckpt: is not a checkpoint of a run, which holds "),
    (
        f"ckpt_path={CHECKPOINT} model.width=21",
        f"ckpt_path = {CHECKPOINT}: is of another architecture (hidden.0.linear.weight: 20×64 in the checkpoint, "
        "21×64 in this config's net)",
    ),
    (f"ckpt_path={CHECKPOINT} model.depth=9", f"ckpt_path = {CHECKPOINT}: is of another architecture ("),
    (f"ckpt_path={CHECKPOINT} optimizer=adam", f"ckpt_path = {CHECKPOINT}: is of another optimizer than Adam"),
    (f"ckpt_path={CHECKPOINT} optimizer.lr=9", "optimizer.lr = 9: the run in ckpt_path has 0.0"),
    (
        f"ckpt_path={CHECKPOINT} schedule=one_cycle",
        "schedule = OneCycle: the run in ckpt_path has constant, and goes on with it",
    ),
    (f"ckpt_path={CHECKPOINT} trainer.max_epochs=1", "trainer.max_epochs = 1: You restored a checkpoint with current_"),
    (
        "ckpt_path={world}/cut/checkpoints/last.ckpt datamodule.batch_size=128",
        "datamodule.batch_size = 128: the checkpoint stopped in mid-epoch with 256",
    ),
    # directories
    ("hydra.run.dir={world}/file/run", "hydra.run.dir = {world}/file/run: cannot be written to (Not a directory)"),
    (
        "hydra.run.dir={world}/mine",
        "hydra.run.dir = {world}/mine: holds no run, but figures, which a run would overwrite; choose another ",
    ),
    (
        "hydra.run.dir={world}/run model.depth=9",
        "hydra.run.dir = {world}/run: already holds a run of another config (",
    ),
    # in the directory of a finished run of the same config, which starting over would replace
    ("hydra.run.dir={world}/run trainer=ddp_cpu trainer.devices=257", "datamodule.batch_size = 256: smaller than the "),
    ("hydra.run.dir={world}/run ckpt_path={world}/half.ckpt", "ckpt_path = {world}/half.ckpt: is not a whole "),
    ("hydra.run.dir={world}/run +logger.wandb._target_=nowhere.W", "logger.wandb._target_ = 'nowhere.W': cannot be "),
]


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_one_line_and_loses_nothing(attempt, world, tmp_path, typed, expected):
    overrides, expected = typed.format(world=world).split(" "), expected.format(world=world)
    before = hashes(world)
    status, output, errors = attempt(train, *QUICK, f"hydra.run.dir={tmp_path}/new", *overrides)
    assert (status, output) == (1, [])
    [line] = errors
    assert line.startswith(f"error: {expected}")
    assert hashes(world) == before
    summary = RunDirectory(tmp_path / "new").summary()  # there is one if the job had begun, in a directory of its own
    if summary is not None:
        assert summary["status"] == "failed"
        assert line.startswith("error: " + summary["reason"].removeprefix("ValueError: "))


def hashes(directory: Path) -> dict[Path, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.suffix not in (".lock", ".pyc"))
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name != ".lock"}


def test_the_same_call_without_a_mistake_succeeds(attempt, tmp_path):
    status, output, errors = attempt(train, *QUICK, f"hydra.run.dir={tmp_path}/new")
    assert (status, errors) == (0, [])
    assert any(line.startswith("completed: max_epochs = 2 reached") for line in output)


def test_more_gpus_than_there_are(attempt, tmp_path, monkeypatch):
    for there, devices, said in (
        (0, "1", "trainer.accelerator = 'gpu': this machine has no GPU; cpu does without"),
        (1, "2", "trainer.devices = 2: this machine has 1 GPU"),
        (2, "3", "trainer.devices = 3: this machine has 2 GPUs"),
        (2, "[0,2]", "trainer.devices = [0, 2]: this machine has GPUs 0 to 1"),
    ):
        monkeypatch.setattr(torch.cuda, "device_count", lambda there=there: there)
        typed = ("trainer=gpu", f"trainer.devices={devices}", f"hydra.run.dir={tmp_path}/new")
        assert attempt(train, *QUICK, *typed) == (1, [], [f"error: {said}"])


def test_a_directory_that_another_process_is_writing(attempt, world):
    run = RunDirectory(world / "run")
    run.claim(run.config())
    before = hashes(world)
    status, output, errors = attempt(train, *QUICK, f"hydra.run.dir={world}/run")
    run.release()
    assert (status, output) == (1, [])
    assert errors == [f"error: hydra.run.dir = {world}/run: another process is writing a run here"]
    assert hashes(world) == before


def test_a_run_that_failed_at_once_leaves_its_directory_to_any_other(attempt, tmp_path):
    where = f"hydra.run.dir={tmp_path}/new"
    assert attempt(train, *QUICK, where, "model.depth=0")[0] == 1
    assert attempt(train, *QUICK, where, "model.depth=2")[0] == 0
    assert RunDirectory(tmp_path / "new").summary()["status"] == "completed"


def test_a_multirun_says_each_mistake_in_a_line_and_at_the_end_and_runs_the_other_jobs(attempt, tmp_path):
    status, _, errors = attempt(train, "-m", *QUICK, "seed=0,-1,1,-2", f"hydra.sweep.dir={tmp_path}/sweep")
    assert status == 1
    assert errors[:2] == [f"error: seed = {seed}: {WHOLE} 0" for seed in (-1, -2)]
    for seed, line in zip((-1, -2), errors[2:4], strict=True):
        assert line.startswith("failed: ")
        assert line.endswith(f"seed={seed} (ValueError: seed = {seed}: {WHOLE} 0)")
    assert errors[4:] == [f"go on: the same command with hydra.sweep.dir={tmp_path}/sweep"]
    summaries = [RunDirectory(path.parent).summary() for path in (tmp_path / "sweep").glob("*/summary.json")]
    assert sorted(s["status"] for s in summaries) == ["completed", "completed", "failed", "failed"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("{world}/nowhere", "RUN_DIRECTORY = {world}/nowhere: holds no run (no config.yaml)"),
        ("{world}/nothing", "RUN_DIRECTORY = {world}/nothing: holds no run (no config.yaml)"),
        ("{world}/file", "RUN_DIRECTORY = {world}/file: holds no run (no config.yaml)"),
        ("{world}/no_checkpoint", "checkpoint = {world}/no_checkpoint/checkpoints/last.ckpt: there is no such file"),
        ("{world}/run --accelerator=npu", "--accelerator = 'npu': must be one of auto, cpu, cuda, gpu, mps"),
    ],
)
def test_evaluating_what_is_no_run(attempt, world, typed, expected):
    before = hashes(world)
    assert attempt(evaluate, *typed.format(world=world).split(" ")) == (
        1,
        [],
        [f"error: {expected.format(world=world)}"],
    )
    assert hashes(world) == before


def shell(tmp_path: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *overrides, f"hydra.run.dir={tmp_path}/new"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    return subprocess.run(
        command, cwd=tmp_path, env={**kept, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("seed=-1", f"seed = -1: {WHOLE} 0"),
        ("datamodule.batch_size=5000", "datamodule.batch_size = 5000: larger than the 1293 training samples"),
    ],
)
def test_so_it_is_in_a_shell_with_every_default(tmp_path, typed, expected):
    ended = shell(tmp_path, typed)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"error: {expected}\n")
    assert not (tmp_path / "new" / "wandb").exists()


def test_a_traceback_comes_when_it_is_asked_for(tmp_path):
    ended = shell(tmp_path, "model.depth=0", HYDRA_FULL_ERROR="1")
    assert ended.returncode == 1
    assert "Traceback (most recent call last)" in ended.stderr
    assert f"ValueError: model.depth = 0: {WHOLE} 1" in ended.stderr
