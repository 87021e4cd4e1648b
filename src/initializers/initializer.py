"""The base class of initializers, which draw weights in place and state their moments."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor


class Fans(NamedTuple):
    """Fan-in and fan-out of a layer: the numbers of inputs per unit and of units per input.

    Args:
        fan_in: Number of inputs of a dense layer; input channels · kernel of a convolution, of one of its groups, and
            divided by the stride if it is transposed, which may give a fraction.
        fan_out: Number of outputs of a dense layer; output channels · kernel of a convolution, of one of its groups.
        kernel: Number of positions in a convolution's kernel, 1 for a dense layer.

    Example:
        >>> import torch
        >>> Fans.of(torch.empty(8, 3, 5, 5))
        Fans(fan_in=75, fan_out=200, kernel=25)
    """

    fan_in: float
    fan_out: int
    kernel: int = 1

    @classmethod
    def of(cls, weight: Tensor) -> "Fans":
        """Compute the fans of a weight tensor of shape (units out, units in, *kernel)."""
        kernel = weight[0, 0].numel()
        return cls(weight.shape[1] * kernel, weight.shape[0] * kernel, kernel)


class Initializer(ABC):
    """Base class of initializers, which draw weights from a distribution and state its variance and kurtosis.

    A function that fills a tensor, such as `torch.nn.init.kaiming_normal_`, can be used in place of an `Initializer`,
    but theory has no predictions for it because its moments are unknown.
    """

    independent = True  # whether the weights of a layer are independent of each other
    symmetric = True  # whether W and −W have the same distribution, as the theory of lengths assumes

    @abstractmethod
    def __call__(self, weight: Tensor, generator: Generator | None = None) -> None:
        """Draw `weight`, of shape (units out, units in, *kernel), in place."""

    @abstractmethod
    def variance(self, fans: Fans) -> float:
        """Return the variance of one weight."""

    @abstractmethod
    def kurtosis(self, fans: Fans) -> float:
        """Return the kurtosis E[W⁴] / E[W²]² of one weight, which is 3 for normal and 9/5 for uniform weights."""

    def bias_variance(self, fans: Fans) -> float:
        """Return the variance of one bias; 0 means that biases are zero."""
        return 0.0

    def fill_bias_(self, bias: Tensor, fans: Fans, generator: Generator | None = None) -> None:
        """Fill the biases of one or many layers with the given fans in place.

        This class fills them with zeros. In subclasses that draw biases they must have the kurtosis of the weights.
        """
        bias.zero_()

    def fill_many_(self, weights: Tensor, generator: Generator | None = None) -> None:
        """Draw the weights of one layer of many nets, of shape (nets, units out, units in, *kernel), in place."""
        for weight in weights:
            self(weight, generator)

    def fill_with_fans_(self, weights: Tensor, fans: Fans, generator: Generator | None = None) -> None:
        """Draw layers whose fans are not those of their shape, as `fill_many_`, with the variance for these fans."""
        self.fill_many_(weights, generator)
        weights.mul_((self.variance(fans) / self.variance(Fans.of(weights[0]))) ** 0.5)

    def kappa(self, fans: Fans) -> float:
        """Return kappa = fan_in · Var W, which is 2 for a critical ReLU layer (arXiv:1803.01719, theorem 5)."""
        return fans.fan_in * self.variance(fans)

    def moments(self, layers: Iterable[Fans]) -> dict[str, NDArray[np.float64]]:
        """Return the moments of each layer's weights and biases, as keyword arguments of the laws in src/theory.

        Args:
            layers: The fans of each layer.

        Returns:
            `kappas` (fan_in · Var W), `bias_variances` and `kurtosis` (of the weights, 3 if these are normal), each
            of shape (layers,).
        """
        rows = [(self.kappa(fans), self.bias_variance(fans), self.kurtosis(fans)) for fans in layers]
        columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return dict(zip(("kappas", "bias_variances", "kurtosis"), columns, strict=True))
