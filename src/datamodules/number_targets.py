"""The base class of datamodules for regression, whose targets are numbers."""

from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import TensorDataModule


class NumberTargets(TensorDataModule):
    """Base class of datamodules for regression: targets are float32, shape (B, outputs), with mean 0 and variance 1.

    Each target is standardized on the training set, without the validation set, so that the mean squared error of
    predicting the mean is 1. A subclass sets `input_shape` and `outputs`, and implements `load`.
    """

    outputs: int

    def scale_targets(self, parts: dict[str, Samples]) -> dict[str, Samples]:
        """Standardize the targets of all sets on those of the training set."""
        targets = parts["training"].targets.double()
        mean, deviation = targets.mean(0), targets.std(0, correction=0)
        deviation[deviation == 0] = 1
        return {
            name: Samples(part.inputs, ((part.targets.double() - mean) / deviation).float())
            for name, part in parts.items()
        }
