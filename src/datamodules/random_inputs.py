"""A data set of random inputs with random labels, which a net can only memorize."""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.settings import AtLeast, Fraction, PositiveInteger, WholeNumber, checked


class RandomInputs(TensorDataModule):
    """Random inputs, uniform on the sphere of length ‖x‖² / n_0 = 1, with labels uniform over the classes.

    The class has no setting `scaling`, because standardized inputs would not lie on the sphere.

    Args:
        input_size: Number n_0 of values of one input.
        classes: Number of classes.
        samples: Size of the training set, including the validation set; simulations draw new inputs.
        test_samples: Size of the test set; it does not affect the training set.
        data_seed: Seed of the inputs and labels of these sets.
        batch_size: See `TensorDataModule`.
        validation: See `TensorDataModule`.
        seed: See `TensorDataModule`.

    Raises:
        ValueError: a setting has a value that is not allowed.
    """

    @checked
    def __init__(
        self,
        input_size: PositiveInteger = 100,
        classes: Annotated[int, AtLeast(2)] = 10,
        *,
        samples: PositiveInteger = 1000,
        test_samples: WholeNumber = 1000,
        data_seed: WholeNumber = 0,
        batch_size: PositiveInteger = 64,
        validation: Fraction = 0.1,
        seed: WholeNumber = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation=validation, scaling="unit", seed=seed)
        self.input_shape = (input_size,)
        self.classes = classes
        self.train_samples = samples
        self.test_samples = test_samples
        self.data_seed = data_seed

    def load(self) -> tuple[Samples, Samples]:
        """Draw the training and the test set independently, with inputs of shape (B, n_0)."""
        return self._draw(self.train_samples, stream=1), self._draw(self.test_samples, stream=2)

    def draw_inputs(self, count: int, generator: np.random.Generator) -> Tensor:
        """Draw new inputs, uniform on the sphere; a subclass that loads other data draws from its training set.

        Args:
            count: Number of inputs, B.
            generator: Source of all random numbers.

        Returns:
            Shape (B, n_0).

        Example:
            >>> RandomInputs(3).draw_inputs(2, np.random.default_rng(0)).square().mean(1).round(decimals=3)
            tensor([1., 1.])
        """
        if type(self).load is not RandomInputs.load:
            return super().draw_inputs(count, generator)
        return self._on_the_sphere(count, generator)

    def _draw(self, count: int, *, stream: int) -> Samples:
        generator = np.random.default_rng((self.data_seed, stream))
        inputs = self._on_the_sphere(count, generator)
        return Samples(inputs, torch.from_numpy(generator.integers(self.classes, size=count)))

    def _on_the_sphere(self, count: int, generator: np.random.Generator) -> Tensor:
        directions = generator.standard_normal((count, *self.input_shape))
        mean_squares = np.square(directions).mean(axis=1, keepdims=True)
        return torch.from_numpy(directions / np.sqrt(mean_squares)).float()
