"""The picture experiment: what it leaves, what its rows have in common, and what is said of mistakes."""

import json
import math
import re

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from scripts.picture import main
from src.jobs import picture as picture_module
from src.jobs.picture import chosen_layers, log_length
from src.lengths.capture import Capture
from src.runs.build import build_datamodule, build_net
from src.theory.convolution import log_mean_length_zero_padded
from tests.jobs.conftest import CONF
from tests.jobs.test_wandb import logged, records

SCRIPT = CONF.parent / "scripts" / "picture.py"
QUICK = ("model.depth=6", "model.channels=16", "logger=csv", "hydra.run.dir=here")
DIGITS = {"_target_": "src.datamodules.digits.Digits"}
ROWS = ["he_normal", "he_normal_x2", "lecun_normal", "torch_default"]
USERS_NETS = """
from torch import nn

class Failing(nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(nn.Conv2d(input_shape[0] + 1, 4, 3), nn.ReLU(), nn.Linear(classes, classes))

class Normalized(nn.Sequential):  # a user's own net, which names no layers and has no law
    def __init__(self, input_shape, classes):
        channels, height, width = input_shape
        readout = nn.Linear(4 * height * width, classes)
        convolution = nn.Conv2d(channels, 4, 3, padding=1)
        super().__init__(convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), readout)
"""


@pytest.fixture
def attempt(shell, tmp_path, monkeypatch):
    """Call the script as the shell would: its exit status, and its lines on stdout and stderr."""
    (tmp_path / "users_nets.py").write_text(USERS_NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda *arguments: shell(SCRIPT, main, *arguments)


@pytest.fixture
def lengths_of(attempt, tmp_path):
    """Run with these overrides and read the lengths: a row for each layer, a column for each initialization."""

    def run(*overrides: str, column: str = "log_length") -> pd.DataFrame:
        status, _, errors = attempt(*QUICK, *overrides)
        assert (status, errors) == (0, [])
        table = pd.read_csv(tmp_path / "here" / "lengths.csv")
        return table.pivot(index="layer", columns="initializer", values=column)

    return run


def test_a_picture_leaves_its_figure_lengths_config_and_summary(attempt, tmp_path):
    status, output, errors = attempt(*QUICK)
    assert (status, errors) == (0, [])
    assert output[-1] == "figure: here/figures/activations.png"
    assert matplotlib.image.imread(tmp_path / "here/figures/activations.png").std() > 0
    assert (tmp_path / "here/figures/activations.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(tmp_path / "here/lengths.csv")
    assert table["initializer"].unique().tolist() == ROWS
    assert table["layer"].tolist() == list(range(7)) * 4
    assert table["name"][:2].tolist() == ["input", "hidden.0.activation"]
    summary = json.loads((tmp_path / "here/summary.json").read_text())
    assert (summary["status"], summary["image"], summary["seed"]) == ("completed", 0, 0)
    headings = next(line for line in output if "layer" in line)
    assert [word.strip() for word in re.split("┃", headings)[2:6]] == [
        "He normal", "2 × He normal", "LeCun normal", "PyTorch default",
    ]  # fmt: skip
    shown = [line for line in output if re.match(r"│ [0-6] ", line)]
    assert len(shown) == 7
    last = [float(number) for number in re.findall(r"[\d.e+-]+", shown[-1])[1:]]
    np.testing.assert_allclose(last, np.exp(table["log_length"][table["layer"] == 6]), rtol=0.06)


def test_rows_differ_by_their_variance_alone(lengths_of):
    logs = lengths_of()
    for option, factor in (("he_normal_x2", 2.0), ("lecun_normal", 0.5)):
        np.testing.assert_allclose(logs[option] - logs["he_normal"], math.log(factor) * logs.index, atol=1e-4)


def test_theory_is_that_of_the_image(lengths_of):
    theory = lengths_of(column="log_mean_theory")
    np.testing.assert_allclose(theory["lecun_normal"] - theory["lecun_normal"][0], -math.log(2) * theory.index)
    np.testing.assert_allclose(np.diff(theory["he_normal"]), 0, atol=1e-9)


def test_zero_padding_is_predicted_from_where_the_image_is_bright(lengths_of):
    theory = lengths_of("model.padding=zeros", column="log_mean_theory")["he_normal"]
    image = build_datamodule({"datamodule": DIGITS}).samples("test").inputs[0]
    profile = image.double().square().mean(0).numpy()
    expected = log_mean_length_zero_padded([2.0] * 6, kernel_size=3, input_profile=profile)
    np.testing.assert_allclose(theory[1:], expected, atol=1e-6)
    even = log_mean_length_zero_padded([2.0] * 6, kernel_size=3, input_profile=np.full((8, 8), profile.mean()))
    assert (np.abs(theory[1:] - even) > 0.01).all()


def test_beyond_float32_lengths_go_on_to_double(lengths_of):
    logs = lengths_of("model.depth=300", "model.channels=16", "~initializer@initializers.torch_default")
    assert list(logs.columns) == ROWS[:3]
    assert np.isfinite(logs).all(axis=None)
    np.testing.assert_allclose((logs["he_normal_x2"] - logs["he_normal"])[300], 300 * math.log(2), rtol=1e-3)
    assert logs["he_normal_x2"][300] > 2 * math.log(3e19)  # of a root mean square whose square no float32 holds


@pytest.mark.parametrize("kind", ["false", "true"])
def test_the_nets_are_those_that_training_begins_with(kind, lengths_of):
    logs = lengths_of("seed=7", "image=5", f"model.residual={kind}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["model=deep_convolutional", "seed=7", "initializer=lecun_normal", f"model.residual={kind}"]
        composed = compose("train", [*overrides, *QUICK[:2]])
    config = {
        key: OmegaConf.to_container(composed[key], resolve=True) for key in ("model", "datamodule", "initializer")
    }
    datamodule = build_datamodule(config)
    net = build_net(config | {"seed": 7}, datamodule)
    capture = Capture(net)
    capture.start()
    net(datamodule.samples("test").inputs[5:6])
    expected = [float(reading.lengths.log()) for reading in capture.stop()]
    np.testing.assert_allclose(logs["lecun_normal"], expected, atol=1e-5)


def test_initializers_are_added_and_taken_away(lengths_of):
    logs = lengths_of("+initializer@initializers.mine=orthogonal", "~initializer@initializers.he_normal_x2")
    assert set(logs.columns) == {"he_normal", "lecun_normal", "torch_default", "mine"}


def test_the_same_command_reads_what_it_has_drawn(attempt, monkeypatch):
    _, first, _ = attempt(*QUICK)

    def again(config):
        raise AssertionError("drawn again")

    monkeypatch.setattr(picture_module, "look", again)
    assert attempt(*QUICK) == (0, first, [])


def test_a_sweep_draws_one_picture_for_each_job(attempt, tmp_path):
    status, output, errors = attempt("-m", *QUICK[:3], "image=0,1")
    assert (status, errors) == (0, [])
    assert len(list((tmp_path / "runs/pictures").glob("*/figures/activations.png"))) == 2
    assert len([line for line in output if line.startswith("figure: ")]) == 2


def test_the_figure_and_the_lengths_go_to_wandb(attempt, tmp_path):
    status, _, errors = attempt(*QUICK, "logger=wandb")
    assert (status, errors) == (0, [])
    mirrored = logged(records(tmp_path / "here"))
    assert (mirrored["activations._type"], mirrored["lengths._type"]) == ("image-file", "table-file")
    assert mirrored["lengths.nrows"] == 28


def test_a_users_own_net_is_pictured_too(attempt, tmp_path):
    own = ("~model", "+model._target_=users_nets.Normalized", "logger=csv", "hydra.run.dir=here", "layers=[1]")
    status, output, errors = attempt(*own)
    assert (status, errors) == (0, [])
    table = pd.read_csv(tmp_path / "here/lengths.csv")
    assert "log_mean_theory" not in table
    assert table["name"].tolist() == ["input", "2"] * 4
    assert not any("theory" in line for line in output)


MISTAKES = [
    ("image=360", "image = 360: must be below 360, the number of test images"),
    ("image=-1", "image = -1: must be a whole number of at least 0"),
    ("seed=-1", "seed = -1: must be a whole number of at least 0"),
    ("layers=[7]", "layers = 7: must be at most 6, the last layer that is measured"),
    ("layers=[0]", "layers = 0: must be a whole number of at least 1"),
    ("layers=[]", "layers = []: must be a list of layers, or null for 5 of them"),
    ("layers=3", "layers = 3: must be a list of layers, or null for 5 of them"),
    ("model.padding=same", "model.padding = 'same': must be one of circular, zeros"),
    ("model.channels=[4,4]", "model.channels = [4, 4]: must be a number or a list of 6, one per layer"),
    ("datamodule=random_inputs", "model.input_shape = (100,): must be (channels, height, width), as a datamodule of "),
    ("initializers.he_normal.scale=0", "initializers.he_normal.scale = 0: must be a number above 0"),
    ("~initializers", "initializers = none: must name at least one, as +initializer@initializers.NAME=NAME"),
    ("+initializer@initializers.x=nope", "initializer = nope: no such option; there are critical, glorot_normal, "),
]  # fmt: skip


@pytest.mark.parametrize("typed, said", MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_one_line_and_leaves_no_picture(typed, said, attempt, tmp_path):
    status, output, errors = attempt(*QUICK, typed)
    assert (status, output) == (1, [])
    [line] = errors
    assert line.startswith(f"error: {said}")
    assert not (tmp_path / "here" / "summary.json").exists()


def test_a_mistake_leaves_the_directory_to_what_was_meant(attempt):
    assert attempt(*QUICK, "layers=[7]")[0] == 1
    assert attempt(*QUICK)[0] == 0


@pytest.mark.parametrize(
    "model, said",
    [
        (("model=fully_connected",), "layers = 1: hidden.0.activation is of shape (100,), where a picture needs"),
        (("~model", "+model._target_=users_nets.Failing"), "model = users_nets.Failing: fails on an image"),
    ],
    ids=["no image", "fails"],
)
def test_a_net_without_images_is_a_mistake(model, said, attempt):
    status, _, [line] = attempt(*model, *QUICK[2:])
    assert (status, line.startswith(f"error: {said}")) == (1, True)


def test_a_length_beyond_float64_is_still_a_number():
    assert log_length(torch.full((1, 3), 1e200, dtype=torch.float64)) == pytest.approx(400 * math.log(10))
    assert log_length(torch.tensor([[0.0, 2.0]])) == pytest.approx(math.log(2))
    assert log_length(torch.zeros(1, 3)) == -math.inf
    assert log_length(torch.tensor([[math.inf, 1.0]])) == math.inf
    assert math.isnan(log_length(torch.tensor([[math.nan, 1.0]])))


@pytest.mark.parametrize("depth, chosen", [(50, [1, 3, 7, 19, 50]), (5, [1, 2, 3, 5]), (1, [1]), (2, [1, 2])])
def test_layers_are_chosen_from_the_first_to_the_last(depth, chosen):
    assert chosen_layers(None, depth) == chosen
    assert chosen_layers([1], depth) == [1]


def test_the_config_is_a_lab_record_whose_command_is_the_script():
    head = [line for line in (CONF / "picture.yaml").read_text().splitlines() if line.startswith("# ")]
    record = dict(named.groups() for line in head if (named := re.match(r"# ([A-Z]\w+): (.*)", line)))
    assert list(record) == ["Claim", "Source", "Command", "Takes", "Expected"]
    assert record["Command"] == "uv run python scripts/picture.py"
