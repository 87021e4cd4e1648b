"""The 30 combinations of net, data and optimizer on which the range test is judged.

The first 20 may be looked at while its rule is made: ten of them had been set aside for an earlier version of it. The
last ten were written down before the present rule was made, and are looked at once.
"""

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim import SGD, AdamW

from start_training.datamodules.diabetes import Diabetes
from start_training.datamodules.digits import Digits
from start_training.datamodules.fashion_mnist import FashionMnist
from start_training.datamodules.friedman import Friedman
from start_training.datamodules.mnist import Mnist
from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.initializers.initialize import initialize_
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.lenet import LeNet
from start_training.models.residual import Residual
from start_training.models.training_module import TrainingModule
from start_training.tasks.classification import Classification
from start_training.tasks.multilabel import Multilabel
from start_training.tasks.regression import Regression
from start_training.tasks.task import Task

TEST_IMAGES = 2000
Net = Callable[[tuple[int, ...], int], nn.Module]  # from the shape of an input and the number of outputs


class FirstImages(TensorDataModule):
    """The first `count` training images, and the first `TEST_IMAGES` test images, of a set that `of` returns."""

    def __init__(self, of: Callable[[], tuple[Samples, Samples]], count: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.of, self.count, self.classes = of, count, 10
        self.input_shape = tuple(of()[0].inputs.shape[1:])

    def load(self) -> tuple[Samples, Samples]:
        training, test = self.of()
        return training.take(torch.arange(self.count)), test.take(torch.arange(TEST_IMAGES))


class DigitLabels(Digits):
    """Digits with four labels each: even, above 4, prime, and a multiple of 3."""

    labels = 4

    def load(self) -> tuple[Samples, Samples]:
        training, test = (self._labelled(part) for part in super().load())
        return training, test

    def _labelled(self, part: Samples) -> Samples:
        digit = part.targets
        prime = torch.isin(digit, torch.tensor([2, 3, 5, 7]))
        return Samples(part.inputs, torch.stack([digit % 2 == 0, digit > 4, prime, digit % 3 == 0], 1).float())


@cache
def mnist() -> tuple[Samples, Samples]:
    return Mnist().load()


@cache
def fashion() -> tuple[Samples, Samples]:
    return FashionMnist().load()


@cache
def cifar() -> tuple[Samples, Samples]:
    """The first 200 images of each class of CIFAR-10 as JPEG files, shuffled, from the tar of an ImageFolder."""
    images: dict[str, list[Tensor]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    with tarfile.open(Path(os.environ["DATA_DIR"]) / "cifar10_jpeg.tar") as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".jpg"))
        classes = sorted({name.split("/")[2] for name in names})
        for name in names:
            _, part, kind, file = name.split("/")
            if int(file.removesuffix(".jpg")) < 200:
                read = tar.extractfile(name)
                assert read is not None
                images[part].append(torch.from_numpy(np.array(Image.open(BytesIO(read.read())).convert("RGB"))))
                labels[part].append(classes.index(kind))
    parts = []
    for part in ("train", "test"):
        order = torch.randperm(len(labels[part]), generator=torch.Generator().manual_seed(0))
        pixels = torch.stack(images[part]).permute(0, 3, 1, 2)
        parts.append(Samples(pixels[order].contiguous(), torch.tensor(labels[part])[order]))
    return parts[0], parts[1]


@dataclass(frozen=True)
class RangeCase:
    """A net, its data and its optimizer.

    Args:
        name: The name in tables.
        net: Builds the net.
        data: Builds the datamodule, given its seed.
        optimizer: Builds the optimizer, given parameters and learning rate.
        epochs: Number of epochs of the runs that judge a rate by its use.
        task: Builds the task, given the number of outputs.
        kappa: fan_in · Var W of the initial weights: 2 is He's, 1 LeCun's.
        looked_at: Whether the rule may be made with this case.
    """

    name: str
    net: Net
    data: Callable[..., TensorDataModule]
    optimizer: Callable[..., torch.optim.Optimizer]
    epochs: int
    task: Callable[..., Task] = Classification
    kappa: float = 2.0
    looked_at: bool = True

    def module(self, seed: int, rate: float = 0.1, schedule: Any = None) -> tuple[TrainingModule, TensorDataModule]:
        """Return the net with the weights of a seed, and its data in the order of that seed."""
        data = self.data(seed=seed)
        task = self.task(outputs=self.task().outputs_of(data))
        assert task.outputs
        net = self.net(data.input_shape, task.outputs)
        initialize_(net, VarianceScaling(self.kappa), generator=torch.Generator().manual_seed(seed))
        return TrainingModule(net, partial(self.optimizer, lr=rate), task=task, schedule=schedule, seed=seed), data


def dense(depth: int, width: int, activation: str = "relu") -> Net:
    def build(shape: tuple[int, ...], outputs: int) -> nn.Module:
        return FullyConnected(int(np.prod(shape)), outputs, depth=depth, width=width, activation=activation)

    return build


def residual(modules: int, width: int) -> Net:
    return lambda shape, outputs: Residual(int(np.prod(shape)), outputs, modules=modules, width=width)


def lenet(channels: list[int], width: int, padding: int) -> Net:
    return lambda shape, outputs: LeNet(shape, outputs, channels=channels, widths=[width], padding=padding)


def convolutional(depth: int, channels: int, **settings: Any) -> Net:
    return lambda shape, outputs: Convolutional(shape, outputs, depth=depth, channels=channels, **settings)


MOMENTUM = partial(SGD, momentum=0.9)
NESTEROV = partial(SGD, momentum=0.9, nesterov=True, weight_decay=1e-3)
CASES = {
    case.name: case
    for case in (
        RangeCase("LeNet, digits, SGD", lenet([8, 16], 64, 2), Digits, MOMENTUM, 6),
        RangeCase("8 x 100 LeCun, digits, SGD", dense(8, 100), Digits, MOMENTUM, 12, kappa=1.0),
        RangeCase("10 x 100, digits, SGD", dense(10, 100), Digits, MOMENTUM, 10),
        RangeCase("10 x 100, digits, AdamW", dense(10, 100), Digits, AdamW, 10),
        RangeCase("3 x 100, MNIST 5000, SGD", dense(3, 100), partial(FirstImages, mnist, 5000), MOMENTUM, 4),
        RangeCase("residual 10 x 100, digits, SGD", residual(10, 100), Digits, MOMENTUM, 10),
        RangeCase("3 x 50, Friedman, SGD", dense(3, 50), partial(Friedman, batch_size=32), MOMENTUM, 12, Regression),
        RangeCase("2 x 50, diabetes, AdamW", dense(2, 50), partial(Diabetes, batch_size=32), AdamW, 20, Regression),
        RangeCase("3 x 50, digit labels, SGD", dense(3, 50), DigitLabels, MOMENTUM, 12, Multilabel),
        RangeCase("conv 4 x 12, CIFAR 2000, SGD", convolutional(4, 12), partial(FirstImages, cifar, 2000), MOMENTUM, 4),
        RangeCase("4 x 64 tanh LeCun, digits, AdamW", dense(4, 64, "tanh"), Digits, AdamW, 10, kappa=1.0),
        RangeCase("2 x 200, Fashion 3000, SGD", dense(2, 200), partial(FirstImages, fashion, 3000), MOMENTUM, 6),
        RangeCase("LeNet, MNIST 3000, AdamW", lenet([6, 12], 50, 0), partial(FirstImages, mnist, 3000), AdamW, 2),
        RangeCase("residual 6 x 64, Fashion 2000, AdamW", residual(6, 64), partial(FirstImages, fashion, 2000), AdamW,
                  6),
        RangeCase("residual conv 3 x 8, digits, SGD", convolutional(3, 8, residual=True), Digits, MOMENTUM, 8),
        RangeCase("12 x 50 SiLU, digits, AdamW", dense(12, 50, "silu"), Digits, AdamW, 12),
        RangeCase("2 x 30 tanh, diabetes, SGD", dense(2, 30, "tanh"), partial(Diabetes, batch_size=16), MOMENTUM, 20,
                  Regression, 1.0),
        RangeCase("5 x 50 SiLU, Friedman, AdamW", dense(5, 50, "silu"), Friedman, AdamW, 16, Regression),
        RangeCase("2 x 100, digit labels, AdamW", dense(2, 100), DigitLabels, AdamW, 12, Multilabel),
        RangeCase("6 x 64 GELU, MNIST 2000, batch 256, Nesterov", dense(6, 64, "gelu"),
                  partial(FirstImages, mnist, 2000, batch_size=256), NESTEROV, 20),
        # Set aside: looked at once.
        RangeCase("6 x 80 leaky ReLU, MNIST 3000, SGD", dense(6, 80, "leaky_relu"), partial(FirstImages, mnist, 3000),
                  MOMENTUM, 4, looked_at=False),
        RangeCase("residual 8 x 50, MNIST 2000, AdamW", residual(8, 50), partial(FirstImages, mnist, 2000), AdamW, 6,
                  looked_at=False),
        RangeCase("conv 3 x 8, Fashion 2000, AdamW", convolutional(3, 8), partial(FirstImages, fashion, 2000), AdamW, 4,
                  looked_at=False),
        RangeCase("LeNet, Fashion 2000, SGD", lenet([6, 12], 50, 0), partial(FirstImages, fashion, 2000), MOMENTUM, 4,
                  looked_at=False),
        RangeCase("4 x 60 tanh LeCun, Fashion 2000, batch 256, AdamW", dense(4, 60, "tanh"),
                  partial(FirstImages, fashion, 2000, batch_size=256), AdamW, 16, kappa=1.0, looked_at=False),
        RangeCase("20 x 40, digits, SGD", dense(20, 40), Digits, MOMENTUM, 14, looked_at=False),
        RangeCase("3 x 64 GELU, Friedman, SGD", dense(3, 64, "gelu"), Friedman, MOMENTUM, 16, Regression,
                  looked_at=False),
        RangeCase("4 x 40, diabetes, AdamW", dense(4, 40), partial(Diabetes, batch_size=32), AdamW, 20, Regression,
                  looked_at=False),
        RangeCase("3 x 60 tanh LeCun, digit labels, AdamW", dense(3, 60, "tanh"), DigitLabels, AdamW, 12, Multilabel,
                  1.0, False),
        RangeCase("residual conv 2 x 8, CIFAR 2000, Nesterov", convolutional(2, 8, residual=True),
                  partial(FirstImages, cifar, 2000), NESTEROV, 4, looked_at=False),
    )
}  # fmt: skip
