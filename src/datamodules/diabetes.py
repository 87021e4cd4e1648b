"""The diabetes data set of scikit-learn, a regression that needs no download."""

import torch

from start_training.datamodules.number_targets import NumberTargets
from start_training.datamodules.samples import Samples
from start_training.datamodules.split import random_cut


class Diabetes(NumberTargets):
    """scikit-learn's diabetes data: disease progression of 442 patients from 10 measurements, a regression.

    The data set has no official test set. A fixed fifth of the patients, 89, is the test set, the same for every seed;
    the validation set is cut from the other 353.
    Source: Efron, Hastie, Johnstone & Tibshirani 2004, Least angle regression.
    """

    input_shape = (10,)
    outputs = 1

    def load(self) -> tuple[Samples, Samples]:
        """Load the measurements and the progression a year later of scikit-learn's `load_diabetes`."""
        from sklearn.datasets import load_diabetes  # imported late, because the import takes a second

        inputs, targets = load_diabetes(return_X_y=True)
        samples = Samples(torch.as_tensor(inputs).float(), torch.as_tensor(targets).float().unsqueeze(1))
        remaining, cut = random_cut(samples.size, 0.2)
        return samples.take(remaining), samples.take(cut)
