"""The Fashion-MNIST data set."""

import torchvision

from start_training.datamodules.mnist import Mnist


class FashionMnist(Mnist):
    """Fashion-MNIST: grey images of clothes, 28 × 28 pixels, 60,000 for training and 10,000 for testing."""

    dataset = torchvision.datasets.FashionMNIST
    folder = "FashionMNIST/raw"
