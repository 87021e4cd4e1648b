"""Parts of data sets, some with random labels: the data of the runs that clues are held to (`clue_cases`)."""

from typing import Any

import torch

from start_training.datamodules.digits import Digits
from start_training.datamodules.fashion_mnist import FashionMnist
from start_training.datamodules.friedman import Friedman
from start_training.datamodules.samples import Samples


def part_of(source: Samples, samples: int, wrong: float) -> Samples:
    """Draw this many samples, the same in every run, and replace this fraction of their labels by random ones."""
    generator = torch.Generator().manual_seed(0)
    part = source.take(torch.randperm(source.size, generator=generator)[:samples])
    drawn = torch.randint(10, part.targets.shape, generator=generator)
    is_wrong = torch.rand(part.size, generator=generator) < wrong
    return Samples(part.inputs, torch.where(is_wrong, drawn, part.targets)) if wrong else part


class PartOfDigits(Digits):
    """Some of the 1,437 training and validation images of digits; the test set is whole, and its labels are right."""

    def __init__(self, samples: int = 1437, wrong: float = 0.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.count, self.wrong = samples, wrong

    def load(self) -> tuple[Samples, Samples]:
        training, test = super().load()
        return part_of(training, self.count, self.wrong), test


class PartOfFashion(FashionMnist):
    """Some of the 60,000 training images, and 1,000 test images, whose labels are right."""

    def __init__(self, samples: int = 3000, wrong: float = 0.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.count, self.wrong = samples, wrong

    def load(self) -> tuple[Samples, Samples]:
        training, test = super().load()
        return part_of(training, self.count, self.wrong), part_of(test, 1000, 0.0)


class PartOfFriedman(Friedman):
    """Friedman's regression with this many samples and normal noise of standard deviation 1 + 5 · wrong."""

    def __init__(self, samples: int = 1000, wrong: float = 0.0, **settings: Any) -> None:
        super().__init__(samples=samples, noise=1 + 5 * wrong, **settings)
