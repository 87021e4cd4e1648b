"""Small data sets of the benchmark `recipe`: parts of image sets, overlaid digits, and a robot arm."""

import os
import tarfile
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from start_training.datamodules.digits import Digits
from start_training.datamodules.fashion_mnist import FashionMnist
from start_training.datamodules.mnist import Mnist
from start_training.datamodules.number_targets import NumberTargets
from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.settings import Fraction, OneOf, PositiveInteger, PositiveNumber, WholeNumber, checked

CIFAR = "cifar10_jpeg"  # a folder with subfolders train and test of images, in a tar file in DATA_DIR
MOST_OF_CLASS = 400  # training images of each class that are read from it, and half as many test images


class CifarJpeg(TensorDataModule):
    """The first CIFAR-10 images of each class."""

    input_shape = (3, 32, 32)
    classes = 10

    def load(self) -> tuple[Samples, Samples]:
        with tarfile.open(Path(os.environ["DATA_DIR"]) / f"{CIFAR}.tar") as tar:
            return self._read(tar, "train", MOST_OF_CLASS), self._read(tar, "test", MOST_OF_CLASS // 2)

    def _read(self, tar: tarfile.TarFile, part: str, count: int) -> Samples:
        paths = sorted(Path(name) for name in tar.getnames() if name.startswith(f"{CIFAR}/{part}/"))
        labels = sorted({path.parent.name for path in paths if path.suffix == ".jpg"})
        images, targets = list[Tensor](), list[int]()
        for path in paths:
            if path.suffix == ".jpg" and int(path.stem) < count and (file := tar.extractfile(str(path))):
                images.append(torch.from_numpy(np.array(Image.open(file).convert("RGB"))))
                targets.append(labels.index(path.parent.name))
        return Samples(torch.stack(images).permute(0, 3, 1, 2).contiguous(), torch.tensor(targets))


SOURCES: dict[str, type[TensorDataModule]] = {
    "mnist": Mnist,
    "fashion_mnist": FashionMnist,
    "digits": Digits,
    "cifar": CifarJpeg,
}
TEST_SAMPLES = 2000


@cache
def _source(name: str) -> tuple[Samples, Samples]:
    """Return training and test set; their samples are in random order, the same in every run."""
    parts = SOURCES[name]().load()
    generator = torch.Generator().manual_seed(2018)
    train, test = (part.take(torch.randperm(part.size, generator=generator)) for part in parts)
    return train, test


class Images(TensorDataModule):
    """The first images of a data set, in random order, with mean-pooled pixels.

    Args:
        source: Name of the data set, a key of `SOURCES`.
        samples: Number of images for training and validation.
        pool: Side of the squares of pixels that are averaged.
        imbalance: Number of images of the most frequent class over that of the rarest; numbers of the classes between
            them fall geometrically. The test set stays balanced.
        batch_size: As in `TensorDataModule`; `validation` and `seed` likewise.
    """

    classes = 10

    @checked
    def __init__(
        self,
        *,
        source: Annotated[str, OneOf(tuple(SOURCES))],
        samples: PositiveInteger,
        pool: PositiveInteger = 1,
        imbalance: PositiveNumber = 1.0,
        batch_size: PositiveInteger = 64,
        validation: Fraction = 0.1,
        seed: WholeNumber = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation=validation, seed=seed)
        self.source, self.count, self.pool, self.imbalance = source, samples, pool, imbalance
        channels, *sides = SOURCES[source].input_shape
        self.input_shape = (channels, *(side // pool for side in sides))

    def load(self) -> tuple[Samples, Samples]:
        train, test = _source(self.source)
        train = train.take(self._chosen(train.targets))
        return self._pooled(train), self._pooled(test.take(torch.arange(min(TEST_SAMPLES, test.size))))

    def _chosen(self, targets: Tensor) -> Tensor:
        if self.imbalance == 1:
            return torch.arange(min(self.count, len(targets)))
        shares = self.imbalance ** -(torch.arange(self.classes) / (self.classes - 1))
        counts = (self.count * shares / shares.sum()).round().int().tolist()
        rows = [torch.nonzero(targets == label).flatten()[:count] for label, count in enumerate(counts)]
        return torch.cat(rows).sort().values

    def _pooled(self, samples: Samples) -> Samples:
        images = samples.inputs / 255 if samples.inputs.dtype == torch.uint8 else samples.inputs
        return Samples(avg_pool2d(images, self.pool) if self.pool > 1 else images, samples.targets)


class OverlaidDigits(TensorDataModule):
    """Two MNIST digits on top of each other: ten labels say which digits are there.

    Args:
        samples: Number of images for training and validation.
        batch_size: As in `TensorDataModule`; `validation` and `seed` likewise.
    """

    input_shape = (1, 14, 14)
    labels = 10

    @checked
    def __init__(
        self,
        *,
        samples: PositiveInteger,
        batch_size: PositiveInteger = 64,
        validation: Fraction = 0.1,
        seed: WholeNumber = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation=validation, seed=seed)
        self.count = samples

    def load(self) -> tuple[Samples, Samples]:
        train, test = _source("mnist")
        return _overlaid(train, self.count), _overlaid(test, TEST_SAMPLES)


def _overlaid(digits: Samples, count: int) -> Samples:
    """Overlay digit i with digit i + count; the brighter pixel is seen."""
    images = avg_pool2d(digits.inputs[: 2 * count] / 255, 2)
    one_hot = torch.nn.functional.one_hot(digits.targets[: 2 * count], 10)
    return Samples(torch.maximum(images[:count], images[count:]), one_hot[:count] | one_hot[count:])


class RobotArm(NumberTargets):
    """The position of a planar robot arm's hand, from the angles of its four joints, with a little noise.

    Args:
        samples: Number of samples for training and validation.
        noise: Standard deviation of the noise, in lengths of the arm.
        batch_size: As in `TensorDataModule`; `validation` and `seed` likewise.
    """

    input_shape = (4,)
    outputs = 2

    @checked
    def __init__(
        self,
        *,
        samples: PositiveInteger,
        noise: PositiveNumber = 0.02,
        batch_size: PositiveInteger = 64,
        validation: Fraction = 0.1,
        seed: WholeNumber = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation=validation, seed=seed)
        self.count, self.noise = samples, noise

    def load(self) -> tuple[Samples, Samples]:
        return self._draw(self.count, 0), self._draw(TEST_SAMPLES, 1)

    def _draw(self, count: int, stream: int) -> Samples:
        generator = np.random.default_rng((2018, stream))
        angles = generator.uniform(-np.pi / 2, np.pi / 2, (count, 4))
        directions, lengths = angles.cumsum(1), np.array([0.4, 0.3, 0.2, 0.1])
        hand = np.stack([np.cos(directions) @ lengths, np.sin(directions) @ lengths], axis=1)
        noisy = hand + self.noise * generator.standard_normal(hand.shape)
        return Samples(torch.from_numpy(angles).float(), torch.from_numpy(noisy).float())
