"""The picture experiment: what it leaves, what its rows have in common, and what is said of mistakes."""

import json
import math
import re
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from scripts.picture import main
from src.jobs import picture as picture_module
from src.jobs.composed import plain
from src.jobs.picture import chosen_layers, log_length, look
from src.lengths.capture import Capture
from src.runs.build import build_datamodule, build_net
from src.theory.convolution import log_mean_length_zero_padded
from tests.jobs.composing import QUICK, composed_of, start
from tests.jobs.conftest import CONF
from tests.jobs.test_wandb import logged, records

SCRIPT = CONF.parent / "scripts" / "picture.py"
DIGITS = {"_target_": "src.datamodules.digits.Digits"}
ROWS = ["he_normal", "he_normal_x2", "lecun_normal", "torch_default"]
USERS_NETS = """
from torch import nn

class Normalized(nn.Sequential):  # a user's own net, which names no layers and has no law
    def __init__(self, input_shape, classes):
        channels, height, width = input_shape
        readout = nn.Linear(4 * height * width, classes)
        convolution = nn.Conv2d(channels, 4, 3, padding=1)
        super().__init__(convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), readout)
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """The directory of a picture."""
    return start("picture", tmp_path_factory.mktemp("picture") / "here")


def lengths_of(*typed: str, column: str = "log_length") -> pd.DataFrame:
    """A row for each layer, a column for each initialization."""
    lengths, _ = look(plain(composed_of("picture", *typed)))
    return lengths.pivot(index="layer", columns="initializer", values=column)


def test_a_picture_leaves_its_figure_lengths_config_and_summary_and_is_shown_again(drawn, shell, tmp_path, monkeypatch):
    shutil.copytree(drawn, tmp_path / "here")
    monkeypatch.setattr(picture_module, "look", lambda config: pytest.fail("drawn again"))
    status, output, errors = shell(SCRIPT, main, *QUICK["picture"], "hydra.run.dir=here")
    assert (status, errors) == (0, [])
    assert output[-1] == "figure: here/figures/activations.png"
    assert matplotlib.image.imread(drawn / "figures/activations.png").std() > 0
    assert (drawn / "figures/activations.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(drawn / "lengths.csv")
    assert table["initializer"].unique().tolist() == ROWS
    assert table["layer"].tolist() == list(range(7)) * 4
    assert table["name"][:2].tolist() == ["input", "hidden.0.activation"]
    summary = json.loads((drawn / "summary.json").read_text())
    assert (summary["status"], summary["image"], summary["seed"]) == ("completed", 0, 0)
    headings = next(line for line in output if "layer" in line)
    assert [word.strip() for word in re.split("┃", headings)[2:6]] == [
        "He normal", "2 × He normal", "LeCun normal", "PyTorch default",
    ]  # fmt: skip
    shown = [line for line in output if re.match(r"│ [0-6] ", line)]
    assert len(shown) == 7
    last = [float(number) for number in re.findall(r"[\d.e+-]+", shown[-1])[1:]]
    np.testing.assert_allclose(last, np.exp(table["log_length"][table["layer"] == 6]), rtol=0.06)


def test_rows_differ_by_their_variance_alone():
    logs = lengths_of()
    for option, factor in (("he_normal_x2", 2.0), ("lecun_normal", 0.5)):
        np.testing.assert_allclose(logs[option] - logs["he_normal"], math.log(factor) * logs.index, atol=1e-4)


def test_theory_is_that_of_the_image():
    theory = lengths_of(column="log_mean_theory")
    np.testing.assert_allclose(theory["lecun_normal"] - theory["lecun_normal"][0], -math.log(2) * theory.index)
    np.testing.assert_allclose(np.diff(theory["he_normal"]), 0, atol=1e-9)


def test_zero_padding_is_predicted_from_where_the_image_is_bright():
    theory = lengths_of("model.padding=zeros", column="log_mean_theory")["he_normal"]
    image = build_datamodule({"datamodule": DIGITS}).samples("test").inputs[0]
    profile = image.double().square().mean(0).numpy()
    expected = log_mean_length_zero_padded([2.0] * 6, kernel_size=3, input_profile=profile)
    np.testing.assert_allclose(theory[1:], expected, atol=1e-6)
    even = log_mean_length_zero_padded([2.0] * 6, kernel_size=3, input_profile=np.full((8, 8), profile.mean()))
    assert (np.abs(theory[1:] - even) > 0.01).all()


def test_beyond_float32_lengths_go_on_to_double():
    logs = lengths_of("model.depth=300", "~initializer@initializers.torch_default")
    assert list(logs.columns) == ROWS[:3]
    assert np.isfinite(logs).all(axis=None)
    np.testing.assert_allclose((logs["he_normal_x2"] - logs["he_normal"])[300], 300 * math.log(2), rtol=1e-3)
    assert logs["he_normal_x2"][300] > 2 * math.log(3e19)  # of a root mean square whose square no float32 holds


@pytest.mark.parametrize("kind", ["false", "true"])
def test_the_nets_are_those_that_training_begins_with(kind):
    logs = lengths_of("seed=7", "image=5", f"model.residual={kind}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["model=deep_convolutional", "seed=7", "initializer=lecun_normal", f"model.residual={kind}"]
        composed = compose("train", [*overrides, *QUICK["picture"][:2]])
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


def test_initializers_are_added_and_taken_away():
    logs = lengths_of("+initializer@initializers.mine=orthogonal", "~initializer@initializers.he_normal_x2")
    assert set(logs.columns) == {"he_normal", "lecun_normal", "torch_default", "mine"}


def test_a_sweep_draws_one_picture_for_each_job_and_wandb_gets_it(shell, tmp_path):
    status, output, errors = shell(SCRIPT, main, "-m", *QUICK["picture"][:-1], "image=0,1")
    assert (status, errors) == (0, [])
    assert len([line for line in output if line.startswith("figure: ")]) == 2
    one, _ = (path.parents[1] for path in (tmp_path / "runs/pictures").glob("*/figures/activations.png"))
    mirrored = logged(records(one))
    assert (mirrored["activations._type"], mirrored["lengths._type"]) == ("image-file", "table-file")
    assert mirrored["lengths.nrows"] == 28


def test_a_users_own_net_is_pictured_too(shell, tmp_path, monkeypatch):
    (tmp_path / "users_nets.py").write_text(USERS_NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ("~model", "+model._target_=users_nets.Normalized", "logger=csv", "hydra.run.dir=here", "layers=[1]")
    status, output, errors = shell(SCRIPT, main, *own)
    assert (status, errors) == (0, [])
    table = pd.read_csv(tmp_path / "here/lengths.csv")
    assert "log_mean_theory" not in table
    assert table["name"].tolist() == ["input", "2"] * 4
    assert not any("theory" in line for line in output)


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
