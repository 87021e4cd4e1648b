"""MNIST if DATA_DIR has it, otherwise random data of the same shape."""

import os
from pathlib import Path

import torch

from start_training.datamodules.mnist import Mnist
from start_training.datamodules.samples import Samples


def mnist_directory() -> str | None:
    """Return DATA_DIR if it has the files of MNIST, else None."""
    directory = os.environ.get("DATA_DIR", "data")
    return directory if (Path(directory) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file() else None


def training_samples() -> tuple[Samples, str]:
    """Return 60,000 training samples in memory, and a description of them."""
    if directory := mnist_directory():
        return Mnist(directory, batch_size=1024, validation=0.0).samples("training"), "MNIST"
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60_000, 1, 28, 28, generator=generator)
    return Samples(inputs, torch.randint(10, (60_000,), generator=generator)), "random tensors of the shape of MNIST"


def data_overrides() -> tuple[list[str], str]:
    """Return overrides with which scripts/train.py trains on all 60,000 samples, and a description of the data."""
    if directory := mnist_directory():
        return ["datamodule=mnist", f"datamodule.data_dir={directory}", "datamodule.validation=0"], "MNIST"
    shape = ["datamodule.input_size=784", "datamodule.samples=60000", "datamodule.test_samples=10000"]
    return ["datamodule=random_inputs", *shape, "datamodule.validation=0"], "random inputs of the shape of MNIST"
