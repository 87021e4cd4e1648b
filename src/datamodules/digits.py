"""scikit-learn's bundled digits: real images, nothing to download."""

import torch

from start_training.datamodules.samples import Samples
from start_training.datamodules.split import stratified_cut
from start_training.datamodules.tensor_datamodule import TensorDataModule


class Digits(TensorDataModule):
    """1,797 grey images of 8 x 8 pixels in 10 classes.

    The set has no official test set; here it is a fixed fifth (360 images) with each digit's
    share, which leaves 1,437 to train on and to cut the validation set from.
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
