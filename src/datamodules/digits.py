"""The digits data set of scikit-learn, which needs no download."""

import torch

from start_training.datamodules.samples import Samples
from start_training.datamodules.split import stratified_cut
from start_training.datamodules.tensor_datamodule import TensorDataModule


class Digits(TensorDataModule):
    """scikit-learn's digits: 1,797 grey images of 8 × 8 pixels in 10 classes.

    The data set has no official test set. A fixed fifth of each class, 360 images in total, is the test set. The
    validation set is cut from the other 1,437 images.
    """

    input_shape = (1, 8, 8)
    classes = 10

    def load(self) -> tuple[Samples, Samples]:
        """Load the images of scikit-learn's `load_digits`, with pixels scaled from 0 … 16 to 0 … 1."""
        from sklearn.datasets import load_digits  # imported late, because the import takes a second

        bunch = load_digits()
        images = torch.as_tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
        samples = Samples(images, torch.as_tensor(bunch.target, dtype=torch.int64))
        remaining, cut = stratified_cut(samples.targets, 0.2)
        return samples.take(remaining), samples.take(cut)
