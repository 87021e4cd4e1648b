"""What theory predicts for a convolutional net at initialization, from its architecture and its initializer."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from start_training.theory.activation import Array, Homogeneous
from start_training.theory.convolution import (
    log_mean_length_residual_convolutional,
    log_mean_length_zero_padded,
    log_moment_ratio_bound,
)
from start_training.theory.mean_length import kappas_after_dropout, log_mean_length


@dataclass(frozen=True)
class ConvolutionalLaw:
    """act_j = φ(W_j ∗ act_{j−1} + b_j) for layers j = 1 … d.

    There is no `verdict`: for failure mode 2 theory has a bound, and no number to judge.

    Args:
        channels: Channels of each layer, shape (d,).
        kappas: kernel · channels_in · Var W of each layer, shape (d,).
        bias_variances: Variance of each layer's biases, shape (d,).
        kurtosis: Of each layer's weights, shape (d,).
        kernel_size: Side of the kernels.
        padding: `circular` or `zeros`.
        profile: The input's x² averaged over channels at each position, of the image's shape, up to a factor. Used
            with zero padding alone.
        activation: φ.
        orthogonal: Whether weights are Haar-random semi-orthogonal rather than independent.
        dropout: Probability of dropping a unit after each activation.
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
    gaussian: ClassVar[bool] = False  # the whole law of lengths is not explicit, since positions share their weights

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """log E[M_j] before dropout, shape (d,): exact with circular padding, and with zeros for an input of `profile`.

        See src/theory/convolution.py.
        """
        kappas = kappas_after_dropout(self.kappas, self.dropout)
        if self.padding == "circular":
            return log_mean_length(
                kappas, self.bias_variances, log_input_length=log_input_length, activation=self.activation
            )
        return log_mean_length_zero_padded(
            kappas,
            self.bias_variances,
            kernel_size=self.kernel_size,
            input_profile=_scaled(self.profile, log_input_length),
            activation=self.activation,
        )

    def log_moment_ratio(self, log_input_length: float = 0.0) -> tuple[Array, Array] | None:
        """Lower and upper bound of log(E[M_j²] / E[M_j]²), each (d,): 0, and `log_moment_ratio_bound`.

        None with zero padding, biases, dropout, or weights that are not independent.
        """
        if self.padding != "circular" or self.bias_variances.any() or self.dropout or self.orthogonal:
            return None
        upper = log_moment_ratio_bound(self.channels, self.kurtosis, activation=self.activation)
        return np.zeros_like(upper), upper


@dataclass(frozen=True)
class ResidualConvolutionalLaw:
    """act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l) for modules l = 1 … L.

    Args:
        scales: eta of each module, shape (L,).
        kappas: kernel · channels · Var W of each module, shape (L,).
        bias_variances: Variance of each module's biases, shape (L,).
        kernel_size: Side of the kernels.
        padding: `circular` or `zeros`.
        profile: See `ConvolutionalLaw`; that of the embedded image.
        activation: φ.
    """

    scales: Array
    kappas: Array
    bias_variances: Array
    kernel_size: int
    padding: str
    profile: Array
    activation: Homogeneous
    gaussian: ClassVar[bool] = False  # see `ConvolutionalLaw`

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """log E[M_l], shape (L,), for an input of this profile, in the limit of many channels.

        See src/theory/convolution.py.
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
        """None: theory has no formula for the second moment of these lengths."""


def _scaled(profile: Array, log_input_length: float) -> Array:
    return profile / profile.mean() * math.exp(log_input_length)
