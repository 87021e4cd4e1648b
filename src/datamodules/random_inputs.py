"""Random inputs with random labels: nothing to learn but the labels by heart."""

import numpy as np
import torch

from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.settings import positive_integer, whole_number


class RandomInputs(TensorDataModule):
    """Inputs uniform on the sphere of M_0 = ||x||^2 / n_0 = 1, labels uniform over the classes.

    The sets depend on `data_seed` and the training set on no other set's size. There is no
    scaling to choose: any other would take the inputs off the sphere.
    """

    def __init__(
        self,
        input_size: int = 100,
        classes: int = 10,
        *,
        samples: int = 1000,
        test_samples: int = 1000,
        data_seed: int = 0,
        batch_size: int = 64,
        validation: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation=validation, scaling="unit", seed=seed)
        self.input_shape = (positive_integer("input_size", input_size),)
        self.classes = whole_number("classes", classes, at_least=2)
        self.train_samples = positive_integer("samples", samples)
        self.test_samples = whole_number("test_samples", test_samples)
        self.data_seed = whole_number("data_seed", data_seed)

    def load(self) -> tuple[Samples, Samples]:
        """Two independent draws, inputs (B, n_0)."""
        return self._draw(self.train_samples, stream=1), self._draw(self.test_samples, stream=2)

    def _draw(self, count: int, *, stream: int) -> Samples:
        generator = np.random.default_rng((self.data_seed, stream))
        directions = generator.standard_normal((count, *self.input_shape))
        mean_squares = np.square(directions).mean(axis=1, keepdims=True)
        inputs = torch.from_numpy(directions / np.sqrt(mean_squares)).float()
        return Samples(inputs, torch.from_numpy(generator.integers(self.classes, size=count)))
