"""The MNIST data set."""

import torchvision

from start_training.datamodules.torchvision_set import TorchvisionSet


class Mnist(TorchvisionSet):
    """MNIST: grey images of handwritten digits, 28 × 28 pixels, 60,000 for training and 10,000 for testing."""

    input_shape = (1, 28, 28)
    dataset = torchvision.datasets.MNIST
    folder = "MNIST/raw"
    files = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
