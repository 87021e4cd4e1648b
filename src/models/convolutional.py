"""A convolutional net: layers of given channels, plain or residual, and a linear readout."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor, nn

from start_training.initializers.initializer import Fans, Initializer
from start_training.models.activation import HOMOGENEOUS, activation_named
from start_training.models.residual_scales import residual_scales
from start_training.settings import fraction, one_of, positive_integer
from start_training.theory.convolution import PADDINGS, odd_kernel
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
    """act_j = φ(W_j ∗ act_{j−1} + b_j) for j = 1 … d, then logits = W act_d + b; (samples, channels, height, width).

    Stride 1 and `padding`, circular or zeros, keep the image's size. `channels`: of every layer, or a list of depth.
    With `residual`, act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l), and what is measured is act_l; act_0 is the
    image, embedded by a linear convolution only where its channels are not `channels`. `scales` and its parameters
    `eta`, `base`, `exponent`: see `residual_scales`.
    The readout sees every unit of the last layer, as in a fully connected net, so that its logits too have mean square
    kappa M_d; that of pooled channels would hang on how positions correlate. Dropout follows each activation.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), the remark on convolutional nets; kappa counts the kernel.
    Raises ValueError for inputs that are no images, counts that are not positive, an even kernel, one that would wrap
    more than once around the image, or an unknown padding.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        *,
        depth: int,
        channels: int | Sequence[int],
        kernel_size: int = 3,
        padding: str = "circular",
        residual: bool = False,
        scales: str | Sequence[float] = "geometric",
        eta: float = 1.0,
        base: float = 0.9,
        exponent: float = 1.0,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        image_channels, *self.image = _checked_shape(input_shape)
        self.channels = _checked_channels(channels, positive_integer("depth", depth), residual)
        self.padding = one_of("padding", padding, PADDINGS)
        self.kernel_size = _checked_kernel(kernel_size, padding, self.image)
        self.activation = activation
        self.dropout = fraction("dropout", dropout)
        self.scales = residual_scales(scales, depth, eta=eta, base=base, exponent=exponent) if residual else None
        if self.scales is None:
            self.embedding: nn.Module = nn.Identity()
            self.hidden = nn.ModuleList(self._layer(*sizes) for sizes in pairwise([image_channels, *self.channels]))
            self.measured_layers = [f"hidden.{j}.activation" for j in range(depth)]
        else:
            size = self.channels[0]
            self.embedding = nn.Identity() if image_channels == size else self._convolution(image_channels, size)
            self.hidden = nn.ModuleList(
                ResidualConvolution(self._layer(size, size), eta=eta_l) for eta_l in self.scales
            )
            self.measured_layers = [f"hidden.{layer}" for layer in range(depth)]
        self.measured_input = "embedding"
        self.readout = nn.Linear(self.channels[-1] * self.image[0] * self.image[1], classes)

    def forward(self, inputs: Tensor) -> Tensor:
        activation = self.embedding(inputs)
        for layer in self.hidden:
            activation = layer(activation)
        return self.readout(activation.flatten(1))

    def law(self, initializer: Initializer) -> ConvolutionalLaw | ResidualConvolutionalLaw | None:
        """What theory knows of this net at initialization, for an image that is as bright everywhere.

        None where the activation is not homogeneous, or of a residual net with dropout.
        """
        if self.activation not in HOMOGENEOUS or (self.scales is not None and self.dropout > 0):
            return None
        fans = [Fans.of(module.weight) for module in self.hidden.modules() if isinstance(module, nn.Conv2d)]
        activation, profile = HOMOGENEOUS[self.activation], np.ones(self.image)
        law = initializer.kappas(fans), initializer.bias_variances(fans)
        if self.scales is not None:
            scales = np.array(self.scales, dtype=np.float64)
            return ResidualConvolutionalLaw(scales, *law, self.kernel_size, self.padding, profile, activation)
        return ConvolutionalLaw(
            channels=np.array(self.channels, dtype=np.float64),
            kappas=law[0],
            bias_variances=law[1],
            kurtosis=initializer.kurtoses(fans),
            kernel_size=self.kernel_size,
            padding=self.padding,
            profile=profile,
            activation=activation,
            orthogonal=not initializer.independent,
            dropout=self.dropout,
        )

    def _layer(self, channels_in: int, channels_out: int) -> nn.Sequential:
        layer = nn.Sequential()
        layer.add_module("convolution", self._convolution(channels_in, channels_out))
        layer.add_module("activation", activation_named(self.activation))
        if self.dropout > 0:
            layer.add_module("dropout", nn.Dropout(self.dropout))
        return layer

    def _convolution(self, channels_in: int, channels_out: int) -> nn.Conv2d:
        return nn.Conv2d(
            channels_in,
            channels_out,
            self.kernel_size,
            padding=self.kernel_size // 2,
            padding_mode="circular" if self.padding == "circular" else "zeros",
        )


def _checked_shape(shape: Sequence[int]) -> list[int]:
    if len(shape) != 3:
        raise ValueError(
            f"input_shape = {tuple(shape)}: must be (channels, height, width), as a datamodule of images has it"
        )
    return list(shape)


def _checked_channels(channels: int | Sequence[int], depth: int, residual: bool) -> list[int]:
    if not isinstance(channels, Sequence) or isinstance(channels, str):
        return [positive_integer("channels", channels)] * depth
    if residual:
        raise ValueError(f"channels = {channels!r}: must be one number, as a residual net adds its layers up")
    if len(channels) != depth:
        raise ValueError(f"channels = {channels!r}: must be a number or a list of {depth}, one per layer")
    return [positive_integer("channels", number) for number in channels]


def _checked_kernel(kernel_size: int, padding: str, image: Sequence[int]) -> int:
    reach = odd_kernel(kernel_size) // 2
    if padding == "circular" and reach > min(image):
        raise ValueError(
            f"kernel_size = {kernel_size}: must be at most {2 * min(image) + 1}, or it wraps more than once around "
            f"images of {image[0]} × {image[1]} pixels"
        )
    return kernel_size
