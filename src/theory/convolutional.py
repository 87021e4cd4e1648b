"""All that theory says of a convolutional net at initialization, from its architecture and its initializer."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from start_training.theory.activation import Homogeneous
from start_training.theory.convolution import (
    log_mean_length_residual_convolutional,
    log_mean_length_zero_padded,
    log_moment_ratio_bound,
)
from start_training.theory.mean_length import log_mean_length

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ConvolutionalLaw:
    """act_j = φ(W_j ∗ act_{j−1} + b_j): an entry of each array, shape (d,), for each layer; kappa counts the kernel.

    profile: the input's x² averaged over channels at each position, of the image's shape, up to a factor. It matters
    with zero padding alone; a net that has not seen its input takes it to be the same everywhere. orthogonal: weights
    are not independent. dropout: probability of dropping a unit after each activation.
    There is no `verdict`: of failure mode 2 theory has a bound, and no number to judge.
    """

    channels: Array
    kappas: Array
    bias_variances: Array
    kurtosis: Array
    kernel_size: int
    padding: str
    profile: Array
    activation: Homogeneous
    orthogonal: bool = False
    dropout: float = 0.0

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """log E[M_j], shape (d,), exact: with circular padding for any input, with zeros for one of this profile.

        Lengths are those before dropout. See src/theory/convolution.py.
        """
        if self.padding == "circular":
            return log_mean_length(
                self._kappas_fed(), self.bias_variances, log_input_length=log_input_length, activation=self.activation
            )
        return log_mean_length_zero_padded(
            self._kappas_fed(),
            self.bias_variances,
            kernel_size=self.kernel_size,
            input_profile=_scaled(self.profile, log_input_length),
            activation=self.activation,
        )

    def log_moment_ratio(self, log_input_length: float = 0.0) -> tuple[Array, Array] | None:
        """Lower and upper bound of log(E[M_j²] / E[M_j]²), each (d,): 0, which no variance is below, and
        `log_moment_ratio_bound`. None with zero padding, biases, dropout, or weights that are not independent.
        """
        if self.padding != "circular" or self.bias_variances.any() or self.dropout or self.orthogonal:
            return None
        upper = log_moment_ratio_bound(self.channels, self.kurtosis, activation=self.activation)
        return np.zeros_like(upper), upper

    @property
    def gaussian(self) -> bool:
        """Whether the whole law of the lengths is explicit: no, since positions share their weights."""
        return False

    def _kappas_fed(self) -> Array:
        kappas = self.kappas.copy()
        kappas[1:] /= 1 - self.dropout  # dropout scales up what it keeps: E[x²] / (1 − p)
        return kappas


@dataclass(frozen=True)
class ResidualConvolutionalLaw:
    """act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l): an entry of each array, shape (L,), for each module.

    profile: see `ConvolutionalLaw`; of the embedded image.
    """

    scales: Array
    kappas: Array
    bias_variances: Array
    kernel_size: int
    padding: str
    profile: Array
    activation: Homogeneous

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """log E[M_l], shape (L,), for an input of this profile: the limit of many channels. See
        src/theory/convolution.py.
        """
        return log_mean_length_residual_convolutional(
            self.scales,
            self.kappas,
            self.bias_variances,
            kernel_size=self.kernel_size,
            padding=self.padding,
            input_profile=_scaled(self.profile, log_input_length),
            activation=self.activation,
        )

    def log_moment_ratio(self, log_input_length: float = 0.0) -> None:
        """None: theory has nothing to say of the lengths' second moment."""

    @property
    def gaussian(self) -> bool:
        """Whether the whole law of the lengths is explicit: no, since positions share their weights."""
        return False

    @property
    def sum_of_scales(self) -> float:
        """Σ eta_l, which decides failure mode 1: E[M_L] is of order exp(Σ eta_l)."""
        return float(self.scales.sum())


def _scaled(profile: Array, log_input_length: float) -> Array:
    return profile / profile.mean() * math.exp(log_input_length)
