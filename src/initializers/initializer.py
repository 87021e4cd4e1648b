"""The base class of initializers: they fill a weight tensor in place and state its law."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor


class Fans(NamedTuple):
    """How many inputs feed one unit of a layer, and how many units one input feeds.

    Args:
        fan_in: Units in of a dense layer; channels_in · kernel of a convolution.
        fan_out: Units out of a dense layer; channels_out · kernel of a convolution.
        kernel: Positions of a convolution's kernel, 1 for a dense layer.

    Example:
        >>> import torch
        >>> Fans.of(torch.empty(8, 3, 5, 5))
        Fans(fan_in=75, fan_out=200, kernel=25)
    """

    fan_in: int
    fan_out: int
    kernel: int = 1

    @classmethod
    def of(cls, weight: Tensor) -> "Fans":
        """The fans of a weight of shape (units out, units in, *kernel)."""
        kernel = weight[0, 0].numel()
        return cls(weight.shape[1] * kernel, weight.shape[0] * kernel, kernel)


class Initializer(ABC):
    """A weight law. Subclasses state its variance and kurtosis and draw from it.

    A function that fills a tensor, such as `torch.nn.init.kaiming_normal_`, serves as an initializer too, but only a
    law that states its moments can be compared with theory.
    """

    independent = True  # whether the weights of a layer are independent of each other
    symmetric = True  # whether W and −W have the same law, as the theory of lengths assumes

    @abstractmethod
    def __call__(self, weight: Tensor, generator: Generator | None = None) -> None:
        """Fill `weight`, of shape (units out, units in, *kernel), in place."""

    @abstractmethod
    def variance(self, fans: Fans) -> float:
        """Var W of one weight."""

    @abstractmethod
    def kurtosis(self, fans: Fans) -> float:
        """E[W⁴] / E[W²]² of one weight: normal 3, uniform 9/5."""

    def bias_variance(self, fans: Fans) -> float:
        """Variance of a bias; 0 means that biases are zero."""
        return 0.0

    def fill_bias_(self, bias: Tensor, fans: Fans, generator: Generator | None = None) -> None:
        """Fill the biases of one or many layers with these fans in place: with zeros, unless a subclass has a bias law.

        The kurtosis of a bias law is that of the weights.
        """
        bias.zero_()

    def fill_many_(self, weights: Tensor, generator: Generator | None = None) -> None:
        """Fill the same layer of many nets, of shape (nets, units out, units in, *kernel), in place."""
        for weight in weights:
            self(weight, generator)

    def kappa(self, fans: Fans) -> float:
        """fan_in · Var W: 2 is critical for a ReLU layer (arXiv:1803.01719, theorem 5)."""
        return fans.fan_in * self.variance(fans)

    def moments(self, layers: Iterable[Fans]) -> dict[str, NDArray[np.float64]]:
        """`kappas`, `bias_variances` and `kurtosis` of each layer, as the laws of src/theory are given them.

        Args:
            layers: The fans of each layer.

        Returns:
            Three arrays of shape (layers,), by name.
        """
        rows = [(self.kappa(fans), self.bias_variance(fans), self.kurtosis(fans)) for fans in layers]
        columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return dict(zip(("kappas", "bias_variances", "kurtosis"), columns, strict=True))
