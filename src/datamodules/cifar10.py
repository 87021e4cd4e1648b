"""CIFAR-10."""

import torchvision

from start_training.datamodules.torchvision_set import TorchvisionSet


class Cifar10(TorchvisionSet):
    """50,000 colour images of 32 x 32 pixels in 10 classes, and 10,000 of the official test set."""

    input_shape = (3, 32, 32)
    dataset = torchvision.datasets.CIFAR10
    folder = "cifar-10-batches-py"
    files = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")
