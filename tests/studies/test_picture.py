"""The picture command: its output files, the lengths of the image's activations, and the layers it chooses."""

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
from torch import nn

from start_training.config.build import build_datamodule, build_net
from start_training.config.composed import plain
from start_training.lengths.capture import Capture
from start_training.runs.job import Job
from start_training.settings import settings_from
from start_training.studies import picture as picture_module
from start_training.studies.picture import PICTURE, PictureSettings, chosen_layers, log_length
from start_training.theory.convolution import log_mean_length_zero_padded
from tests.composing import QUICK, composed_of, start
from tests.small_runs import CONF
from tests.wandb_records import logged, records

DIGITS = {"_target_": "start_training.datamodules.digits.Digits"}
ROWS = ["he_normal", "he_normal_x2", "lecun_normal", "torch_default"]


class Normalized(nn.Sequential):
    """A user's net, for which theory has no prediction."""

    def __init__(self, input_shape, classes):
        channels, height, width = input_shape
        readout = nn.Linear(4 * height * width, classes)
        convolution = nn.Conv2d(channels, 4, 3, padding=1)
        super().__init__(convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), readout)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """The directory of a finished picture."""
    return start("picture", tmp_path_factory.mktemp("picture") / "here")


def table_of(*typed: str) -> pd.DataFrame:
    """The table lengths.csv of a small picture, computed without writing files."""
    config = composed_of("picture", *typed)
    job = Job(plain(config), Path("nowhere"))
    return PICTURE.run(settings_from(PictureSettings, job.config), job, config).tables["lengths.csv"]


def lengths_of(*typed: str, column: str = "log_length") -> pd.DataFrame:
    """A row for each layer, a column for each initialization."""
    return table_of(*typed).pivot(index="layer", columns="initializer", values=column)


def test_a_finished_picture_has_figure_and_lengths_and_is_reported_again(drawn, shell, tmp_path, monkeypatch):
    shutil.copytree(drawn, tmp_path / "here")
    monkeypatch.setattr(picture_module, "pass_through", lambda *_: pytest.fail("drawn again"))
    status, output, errors = shell("picture", *QUICK["picture"], "hydra.run.dir=here")
    assert (status, errors) == (0, [])
    assert output[-1] == "figure: here/figures/activations.png"
    assert matplotlib.image.imread(drawn / "figures/activations.png").std() > 0
    table = pd.read_csv(drawn / "lengths.csv")
    assert table["initializer"].unique().tolist() == ROWS
    summary = json.loads((drawn / "summary.json").read_text())
    assert (summary["status"], summary["image"], summary["seed"]) == ("completed", 0, 0)
    shown = [line for line in output if re.match(r"│ [0-6] ", line)]
    assert len(shown) == 7
    last = [float(number) for number in re.findall(r"[\d.e+-]+", shown[-1])[1:]]
    np.testing.assert_allclose(last, np.exp(table["log_length"][table["layer"] == 6]), rtol=0.06)


def test_theory_for_zero_padding_depends_on_where_the_image_is_bright():
    theory = lengths_of("model.padding=zeros", column="log_mean_theory")["he_normal"]
    image = build_datamodule({"datamodule": DIGITS}).samples("test").inputs[0]
    profile = image.double().square().mean(0).numpy()
    expected = log_mean_length_zero_padded([2.0] * 6, kernel_size=3, input_profile=profile)
    np.testing.assert_allclose(theory[1:], expected, atol=1e-6)
    even = log_mean_length_zero_padded([2.0] * 6, kernel_size=3, input_profile=np.full((8, 8), profile.mean()))
    assert (np.abs(theory[1:] - even) > 0.01).all()


def test_lengths_beyond_the_range_of_float32_are_computed_in_float64():
    logs = lengths_of("model.depth=300", "~initializer@initializers.torch_default")
    assert np.isfinite(logs).all(axis=None)
    for option, factor in (
        ("he_normal_x2", 2.0),
        ("lecun_normal", 0.5),
    ):  # the initializations differ only by their variance
        difference, expected = logs[option] - logs["he_normal"], math.log(factor) * logs.index
        np.testing.assert_allclose(difference[:7], expected[:7], atol=1e-4)
        assert difference[300] == pytest.approx(expected[300], rel=1e-3)
    assert logs["he_normal_x2"][300] > 2 * math.log(3e19)  # the square of such a root mean square overflows in float32


def test_the_net_has_the_weights_with_which_training_starts():
    typed = ("seed=7", "model.residual=true")
    logs = lengths_of(*typed, "image=5")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = ["model=deep_convolutional", "initializer=lecun_normal", *typed, *QUICK["picture"][:2]]
        config = plain(compose("train", words))
    datamodule = build_datamodule(config)
    net = build_net(config, datamodule)
    capture = Capture(net)
    capture.start()
    net(datamodule.samples("test").inputs[5:6])
    expected = [float(reading.lengths.log()) for reading in capture.stop()]
    np.testing.assert_allclose(logs["lecun_normal"], expected, atol=1e-5)


@pytest.mark.slow
def test_each_job_of_a_multirun_draws_its_picture_and_logs_it_to_wandb(shell, tmp_path):
    assert shell("picture", "-m", *QUICK["picture"][:-1], "image=0,1")[0] == 0
    one, _ = (path.parents[1] for path in (tmp_path / "runs/pictures").glob("*/figures/activations.png"))
    mirrored = logged(records(one))
    assert (mirrored["activations._type"], mirrored["lengths.nrows"]) == ("image-file", 28)


def test_a_users_net_can_be_drawn():
    lengths = table_of(f"model={{_target_:{__name__}.Normalized}}", "layers=[1]")
    assert "log_mean_theory" not in lengths
    assert lengths["name"].tolist() == ["input", "2"] * 4


def test_the_log_length_does_not_overflow():
    assert log_length(torch.full((1, 3), 1e200, dtype=torch.float64)) == pytest.approx(400 * math.log(10))
    assert log_length(torch.tensor([[0.0, 2.0]])) == pytest.approx(math.log(2))
    assert log_length(torch.zeros(1, 3)) == -math.inf
    assert log_length(torch.tensor([[math.inf, 1.0]])) == math.inf
    assert math.isnan(log_length(torch.tensor([[math.nan, 1.0]])))


@pytest.mark.parametrize("depth, chosen", [(50, [1, 3, 7, 19, 50]), (5, [1, 2, 3, 5]), (1, [1])])
def test_the_default_layers_are_geometrically_spaced_from_first_to_last(depth, chosen):
    assert chosen_layers(None, depth) == chosen
    assert chosen_layers([1], depth) == [1]
