"""Theory's predictions for plain and residual convolutional nets at initialization."""

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

UNIFORM = "uniform brightness"  # the profile is the same at all positions, whatever the image


@dataclass(frozen=True)
class ConvolutionalLaw:
    """Predicted activation lengths of a convolutional net act_j = φ(W_j ∗ act_{j−1} + b_j) with layers j = 1 … d.

    Unlike `FullyConnectedLaw` this class has no method `verdict`, because theory only bounds the spread of lengths
    (failure mode 2) of convolutional nets.

    Args:
        channels: Channels of each layer, shape (d,).
        kappas: kernel · channels_in · Var W of each layer, shape (d,).
        bias_variances: Variance of each layer's biases, shape (d,).
        kurtosis: Kurtosis of each layer's weights, shape (d,).
        kernel_size: Side of the kernels.
        padding: `circular` or `zeros`.
        profile: Mean over channels of the squared input at each position, of the image's shape, up to a constant
            factor. Only used with zero padding.
        activation: φ of every layer.
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
    gaussian: ClassVar[bool] = False  # the full distribution of lengths is unknown, since positions share their weights

    @property
    def supposes(self) -> tuple[str, ...]:
        """What the prediction of the mean length supposes; empty if it is exact."""
        return (UNIFORM,) * (self.padding == "zeros" and bool((self.profile == self.profile.flat[0]).all()))

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """Compute log E[M_j], the log mean length of each layer before dropout, shape (d,), in nats.

        The result is exact: with circular padding for any input, with zero padding for inputs of the given `profile`.
        See src/theory/convolution.py.

        Args:
            log_input_length: log M_0, the log length of the input.
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
        """Bound log(E[M_j²] / E[M_j]²) from below by 0 and from above by `log_moment_ratio_bound`.

        Returns:
            Lower and upper bound, each of shape (d,), in nats; None with zero padding, biases, dropout, or weights
            that are not independent.
        """
        if self.padding != "circular" or self.bias_variances.any() or self.dropout or self.orthogonal:
            return None
        upper = log_moment_ratio_bound(self.channels, self.kurtosis, activation=self.activation)
        return np.zeros_like(upper), upper


@dataclass(frozen=True)
class ResidualConvolutionalLaw:
    """Predicted activation lengths of a residual convolutional net.

    Its modules l = 1 … L are act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l).

    Args:
        scales: eta of each module, shape (L,).
        kappas: kernel · channels · Var W of each module, shape (L,).
        bias_variances: Variance of each module's biases, shape (L,).
        kernel_size: Side of the kernels.
        padding: `circular` or `zeros`.
        profile: Mean over channels of the squared embedded image at each position, up to a constant factor.
        activation: φ of every module.
    """

    scales: Array
    kappas: Array
    bias_variances: Array
    kernel_size: int
    padding: str
    profile: Array
    activation: Homogeneous
    gaussian: ClassVar[bool] = False  # see `ConvolutionalLaw`

    @property
    def supposes(self) -> tuple[str, ...]:
        """What the prediction of the mean length supposes; empty if it is exact."""
        wide = self.activation.mean != 0
        uniform = bool((self.profile == self.profile.flat[0]).all()) and (wide or self.padding == "zeros")
        return ("wide limit",) * wide + (UNIFORM,) * uniform

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """Compute log E[M_l], the log mean length after each module, in the limit of many channels.

        See src/theory/convolution.py.

        Args:
            log_input_length: log M_0, the log length of the embedded image.

        Returns:
            Shape (L,), in nats.
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
        """Return None: theory has no formula for E[M_l²] of residual convolutional nets."""


def _scaled(profile: Array, log_input_length: float) -> Array:
    return profile / profile.mean() * math.exp(log_input_length)
