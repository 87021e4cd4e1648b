"""scikit-learn's digits: real images that need no download."""

import torch

from start_training.datamodules.samples import Samples
from start_training.datamodules.split import stratified_cut
from start_training.datamodules.tensor_datamodule import TensorDataModule


class Digits(TensorDataModule):
    """1,797 grey images of 8 x 8 pixels in 10 classes.

    There is no official test set. A fixed fifth of each digit, 360 images in all, is the test set, and the other 1,437
    are the training set, from which the validation set is cut.
    """

    input_shape = (1, 8, 8)
    classes = 10

    def load(self) -> tuple[Samples, Samples]:
        """Pixels 0 to 16 of scikit-learn's `load_digits`, divided by 16."""
        from sklearn.datasets import load_digits  # imported here: it takes a second

        bunch = load_digits()
        images = torch.as_tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
        samples = Samples(images, torch.as_tensor(bunch.target, dtype=torch.int64))
        kept, cut = stratified_cut(samples.targets, 0.2)
        return samples.take(kept), samples.take(cut)
