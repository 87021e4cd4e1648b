"""Friedman's synthetic regression: a smooth function of five inputs, with noise."""

from typing import Annotated

import numpy as np
import torch

from start_training.datamodules.number_targets import NumberTargets
from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import Scaling
from start_training.settings import AtLeast, Fraction, NumberFromZero, PositiveInteger, WholeNumber, checked


class Friedman(NumberTargets):
    """Friedman's regression: y = 10 sin(π x1 x2) + 20 (x3 − 1/2)² + 10 x4 + 5 x5 + noise · ε, with ε normal.

    Inputs are independent and uniform in [0, 1]; those after the fifth have no effect on y.
    Source: Friedman 1991, Multivariate adaptive regression splines; the same function as scikit-learn's
    `make_friedman1`.

    Args:
        input_size: Number of inputs, at least 5.
        samples: Number of training samples.
        test_samples: Number of test samples.
        noise: Standard deviation of the noise.
        data_seed: Seed of the samples.
        batch_size: As in `TensorDataModule`.
        validation: As in `TensorDataModule`.
        scaling: As in `TensorDataModule`.
        seed: As in `TensorDataModule`.
    """

    outputs = 1

    @checked
    def __init__(
        self,
        input_size: Annotated[int, AtLeast(5)] = 10,
        *,
        samples: PositiveInteger = 1000,
        test_samples: WholeNumber = 1000,
        noise: NumberFromZero = 1.0,
        data_seed: WholeNumber = 0,
        batch_size: PositiveInteger = 64,
        validation: Fraction = 0.1,
        scaling: Scaling = "standardize",
        seed: WholeNumber = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation=validation, scaling=scaling, seed=seed)
        self.input_shape = (input_size,)
        self.train_samples = samples
        self.test_samples = test_samples
        self.noise = noise
        self.data_seed = data_seed

    def load(self) -> tuple[Samples, Samples]:
        """Draw the training and the test set independently."""
        return self._draw(self.train_samples, stream=1), self._draw(self.test_samples, stream=2)

    def _draw(self, count: int, *, stream: int) -> Samples:
        generator = np.random.default_rng((self.data_seed, stream))
        inputs = generator.random((count, *self.input_shape))
        one, two, three, four, five = inputs[:, :5].T
        smooth = 10 * np.sin(np.pi * one * two) + 20 * (three - 0.5) ** 2 + 10 * four + 5 * five
        targets = smooth + self.noise * generator.standard_normal(count)
        return Samples(torch.from_numpy(inputs).float(), torch.from_numpy(targets).float().unsqueeze(1))
