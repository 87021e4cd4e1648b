"""Fashion-MNIST: clothes, in the form of MNIST."""

import torchvision

from start_training.datamodules.mnist import Mnist


class FashionMnist(Mnist):
    """60,000 grey images of clothes, 28 x 28, and 10,000 of the official test set."""

    dataset = torchvision.datasets.FashionMNIST
    folder = "FashionMNIST/raw"
