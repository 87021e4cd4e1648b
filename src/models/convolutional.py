"""A convolutional net: layers of given channels, plain or residual, and a linear readout."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor, nn

from start_training.initializers.initializer import Initializer
from start_training.models.activation import HOMOGENEOUS, ActivationName
from start_training.models.layer import activated, fans_within
from start_training.models.residual_scales import residual_scales
from start_training.models.sizes import ImageShape
from start_training.settings import Fraction, PositiveInteger, PositiveNumber, checked, positive_integer
from start_training.theory.convolution import OddKernel, Padding
from start_training.theory.convolutional import ConvolutionalLaw, ResidualConvolutionalLaw


class ResidualConvolution(nn.Module):
    """act + eta · N(act), N one convolutional layer that keeps the number of channels."""

    def __init__(self, layer: nn.Module, *, eta: float) -> None:
        super().__init__()
        self.eta = eta
        self.layer = layer

    def forward(self, activation: Tensor) -> Tensor:
        return activation + self.eta * self.layer(activation)


class Convolutional(nn.Module):
    """act_j = φ(W_j ∗ act_{j−1} + b_j) for j = 1 … d, then logits = W act_d + b; inputs (samples, *input_shape).

    Stride 1 and padding keep the image's size. With `residual`, act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l), and
    lengths are measured at act_l; act_0 is the image, embedded by a linear convolution only where it has not as many
    channels as the layers. Else lengths are measured after each activation, before dropout.
    The readout sees every unit of the last layer, as in a fully connected net, so that its logits too have mean square
    kappa M_d; that of pooled channels would depend on how positions correlate.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), the remark on convolutional nets; kappa counts the kernel.

    Args:
        input_shape: (channels, height, width).
        classes: Number of logits.
        depth: Number of layers d, or of residual modules.
        channels: Channels of every layer, or a list with a number for each layer.
        kernel_size: Side of the kernels, odd.
        padding: `circular` or `zeros`.
        residual: Whether layers add to their input.
        scales: Schedule of eta_l, or a list of them; see `residual_scales`, also for eta, base and exponent.
        activation: Name of φ, a key of `ACTIVATIONS`.
        dropout: Probability of dropping a unit after each activation.

    Raises:
        ValueError: a setting has a value that is not allowed, inputs are no images, or a circular kernel would wrap
            more than once around the image.
    """

    @checked
    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        depth: PositiveInteger,
        channels: int | Sequence[int],
        kernel_size: OddKernel = 3,
        padding: Padding = "circular",
        residual: bool = False,
        scales: str | Sequence[float] = "geometric",
        eta: PositiveNumber = 1.0,
        base: PositiveNumber = 0.9,
        exponent: PositiveNumber = 1.0,
        activation: ActivationName = "relu",
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        image_channels, *self.image = input_shape
        self.channels = _channels_of_layers(channels, depth, residual)
        if padding == "circular":
            _check_wrapping(kernel_size, self.image)
        self.padding = padding
        self.kernel_size = kernel_size
        self.activation = activation
        self.dropout = dropout
        self.scales = residual_scales(scales, depth, eta=eta, base=base, exponent=exponent) if residual else None
        self.embedding: nn.Module = nn.Identity()
        if self.scales is None:
            self.hidden = nn.Sequential(*(self._layer(*sizes) for sizes in pairwise([image_channels, *self.channels])))
            self.measured_layers = [f"hidden.{j}.activation" for j in range(depth)]
        else:
            size = self.channels[0]
            if image_channels != size:
                self.embedding = self._convolution(image_channels, size)
            self.hidden = nn.Sequential(
                *(ResidualConvolution(self._layer(size, size), eta=eta_l) for eta_l in self.scales)
            )
            self.measured_layers = [f"hidden.{layer}" for layer in range(depth)]
        self.measured_input = "embedding"
        self.readout = nn.Linear(self.channels[-1] * self.image[0] * self.image[1], classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.hidden(self.embedding(inputs)).flatten(1))

    def law(self, initializer: Initializer) -> ConvolutionalLaw | ResidualConvolutionalLaw | None:
        """What theory predicts for this net at initialization, for images that are equally bright everywhere.

        None where the activation is not homogeneous, and for a residual net with dropout.
        """
        if self.activation not in HOMOGENEOUS or (self.scales is not None and self.dropout > 0):
            return None
        moments, activation = initializer.moments(fans_within(self.hidden)), HOMOGENEOUS[self.activation]
        if self.scales is not None:
            return ResidualConvolutionalLaw(
                scales=np.array(self.scales, dtype=np.float64),
                kappas=moments["kappas"],
                bias_variances=moments["bias_variances"],
                kernel_size=self.kernel_size,
                padding=self.padding,
                profile=np.ones(self.image),
                activation=activation,
            )
        return ConvolutionalLaw(
            channels=np.array(self.channels, dtype=np.float64),
            kernel_size=self.kernel_size,
            padding=self.padding,
            profile=np.ones(self.image),
            activation=activation,
            orthogonal=not initializer.independent,
            dropout=self.dropout,
            **moments,
        )

    def _layer(self, *channels: int) -> nn.Sequential:
        return activated("convolution", self._convolution(*channels), self.activation, dropout=self.dropout)

    def _convolution(self, channels_in: int, channels_out: int) -> nn.Conv2d:
        return nn.Conv2d(
            channels_in,
            channels_out,
            self.kernel_size,
            padding=self.kernel_size // 2,
            padding_mode="circular" if self.padding == "circular" else "zeros",
        )


def _channels_of_layers(channels: int | Sequence[int], depth: int, residual: bool) -> list[int]:
    if not isinstance(channels, Sequence) or isinstance(channels, str):
        return [positive_integer("channels", channels)] * depth
    if residual:
        raise ValueError(f"channels = {channels!r}: must be one number, as a residual net adds its layers up")
    if len(channels) != depth:
        raise ValueError(f"channels = {channels!r}: must be a number or a list of {depth}, one per layer")
    return [positive_integer("channels", number) for number in channels]


def _check_wrapping(kernel_size: int, image: Sequence[int]) -> None:
    if kernel_size // 2 > min(image):
        raise ValueError(
            f"kernel_size = {kernel_size}: must be at most {2 * min(image) + 1}, or it wraps more than once around "
            f"images of {image[0]} × {image[1]} pixels"
        )
