"""Every datamodule config has the arguments of the constructor as keys and its defaults as values."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from start_training.config.composed import register_resolvers
from start_training.datamodules.cifar10 import Cifar10
from start_training.datamodules.digits import Digits
from start_training.datamodules.fashion_mnist import FashionMnist
from start_training.datamodules.mnist import Mnist

register_resolvers()

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "datamodule").glob("*.yaml"))
# Configs that choose between two datamodules, which have their own configs, and the config of a user's.
CHOOSE = ("mnist_or_digits", "fashion_mnist_or_digits", "cifar10_or_digits", "own")


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem not in CHOOSE], ids=lambda path: path.stem)
def test_config_keys_are_the_arguments_and_values_the_defaults(path):
    config = OmegaConf.load(path)
    arguments = inspect.signature(get_class(config._target_).__init__).parameters
    assert config.keys() - {"_target_"} == arguments.keys() - {"self"}
    elsewhere = {"seed", "data_dir", "folder"}  # from the root config and the environment
    for name in config.keys() - {"_target_"} - elsewhere:
        assert config[name] == arguments[name].default


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem != "own"], ids=lambda path: path.stem)
def test_shape_and_classes_are_known_before_data_are_loaded(path, tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "no-image.png").touch()  # which loading would refuse
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    root = OmegaConf.create({"seed": 3, "datamodule": OmegaConf.load(path)})
    datamodule = instantiate(root.datamodule)
    assert datamodule.seed == 3
    outputs = getattr(datamodule, "classes", None) or datamodule.outputs
    assert outputs >= 1 and all(size >= 1 for size in datamodule.input_shape)
    assert len(datamodule.input_shape) in (1, 3)


@pytest.mark.parametrize("name, folder, set_, batch, small", [
    ("mnist_or_digits", "MNIST", Mnist, 1024, 64), ("fashion_mnist_or_digits", "FashionMNIST", FashionMnist, 32, 32),
    ("cifar10_or_digits", "cifar-10-batches-py", Cifar10, 64, 64),
])  # fmt: skip
@pytest.mark.parametrize(
    "size, exists, digits", [("small", True, False), ("small", False, True), ("full", False, False)]
)
def test_only_small_experiments_use_digits_in_place_of_a_missing_data_set(
    tmp_path, monkeypatch, name, folder, set_, batch, small, size, exists, digits
):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    if exists:
        (tmp_path / folder).mkdir()
    root = OmegaConf.create({"seed": 0, "size": size, "datamodule": OmegaConf.load(CONFIGS[0].with_stem(name))})
    datamodule = instantiate(root.datamodule)
    assert (type(datamodule), datamodule.batch_size) == ((Digits, small) if digits else (set_, batch))
