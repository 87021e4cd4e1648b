"""A plain or residual convolutional net with a linear readout."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor, nn

from start_training.initializers.initializer import Initializer
from start_training.models.activation import HOMOGENEOUS, ActivationName
from start_training.models.layer import activated, fans_within
from start_training.models.residual_scales import residual_scales, unused_scales
from start_training.models.sizes import ImageShape
from start_training.settings import Fraction, PositiveInteger, PositiveNumber, checked, positive_integer
from start_training.theory.convolution import OddKernel, Padding
from start_training.theory.convolutional import ConvolutionalLaw, ResidualConvolutionalLaw


class ResidualConvolution(nn.Module):
    """A residual module act + eta · N(act), where N is a convolutional layer that preserves the shape of act.

    Args:
        layer: N.
        eta: The residual scale.
    """

    def __init__(self, layer: nn.Module, *, eta: float) -> None:
        super().__init__()
        self.eta = eta
        self.layer = layer

    def forward(self, activation: Tensor) -> Tensor:
        return activation + self.eta * self.layer(activation)


class Convolutional(nn.Module):
    """A convolutional net act_j = φ(W_j ∗ act_{j−1} + b_j) for layers j = 1 … d, with logits = W act_d + b.

    Inputs have shape (samples, *input_shape). Stride 1 and padding preserve the size of the image. Lengths are measured
    after each activation, before dropout. With `residual` the layers are
    act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l) and lengths are measured at act_l. A linear convolution embeds
    the image as act_0 if its number of channels differs from that of the layers.
    The readout is connected to every unit of the last layer without pooling, so that the mean square of the logits is
    kappa M_d, as in a fully connected net.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), the remark on convolutional nets; fan_in includes the kernel.

    Args:
        input_shape: (channels, height, width).
        classes: Number of outputs: of classes, or of the numbers or labels of another task.
        depth: Number of layers d, or of residual modules.
        channels: Channels of every layer, or a list with a number for each layer.
        kernel_size: Side of the kernels, odd.
        padding: `circular` or `zeros`.
        residual: Whether each layer's output is added to its input.
        scales: Schedule of eta_l, or a list of the eta_l; see `residual_scales`.
        eta: See `residual_scales`.
        base: See `residual_scales`.
        exponent: See `residual_scales`.
        activation: Name of φ, a key of `ACTIVATIONS`.
        dropout: Probability of dropping a unit after each activation.

    Raises:
        ValueError: a setting has a value that is not allowed, input_shape is not that of an image, or a circular kernel
            would wrap more than once around the image.
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

    @staticmethod
    def unused_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return which settings have no effect, with the reason: those of residual nets, or of other `scales`."""
        if settings.get("residual"):
            return unused_scales(settings.get("scales"))
        return dict.fromkeys(("scales", "eta", "base", "exponent"), "with residual = false")

    def law(self, initializer: Initializer) -> ConvolutionalLaw | ResidualConvolutionalLaw | None:
        """Return theory's predictions for this net at initialization, for images with a constant mean square.

        Args:
            initializer: Initializer of the net's weights.

        Returns:
            The law, or None if the activation is not homogeneous, or for a residual net with dropout.
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
        raise ValueError(f"channels = {channels!r}: must be one number, because residual layers need equal channels")
    if len(channels) != depth:
        raise ValueError(f"channels = {channels!r}: must be a number or a list of {depth}, one per layer")
    return [positive_integer("channels", number) for number in channels]


def _check_wrapping(kernel_size: int, image: Sequence[int]) -> None:
    if kernel_size // 2 > min(image):
        raise ValueError(
            f"kernel_size = {kernel_size}: must be at most {2 * min(image) + 1} with circular padding, so that it does "
            f"not wrap more than once around images of {image[0]} × {image[1]} pixels"
        )
