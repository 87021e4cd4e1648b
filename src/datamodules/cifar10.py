"""The CIFAR-10 data set."""

import torchvision

from start_training.datamodules.torchvision_set import TorchvisionSet


class Cifar10(TorchvisionSet):
    """CIFAR-10: colour images of 32 × 32 pixels in 10 classes, 50,000 for training and 10,000 for testing."""

    input_shape = (3, 32, 32)
    dataset = torchvision.datasets.CIFAR10
    folder = "cifar-10-batches-py"
    files = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")
