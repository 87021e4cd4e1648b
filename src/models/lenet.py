"""LeNet and its kin: convolutions with pooling after each, dense layers, and a linear readout."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from start_training.models.activation import activation_named
from start_training.models.fully_connected import dense_layer
from start_training.settings import fraction, one_of, positive_integer, whole_number

POOLINGS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}
STRIDE = 2  # of every pooling


class LeNet(nn.Module):
    """act_j = pool_j φ(W_j ∗ act_{j−1} + b_j) for the convolutions, then dense layers φ(W act + b), then the logits.

    `channels` and `widths`, lists, are the sizes of the convolutional and of the dense layers; `widths` may be empty.
    A convolution has a kernel of kernel_size × kernel_size pixels and `padding` zeros around its image. A pooling takes
    the max or mean of windows of `window` × `window` pixels that begin two pixels apart; as in Caffe the last one may
    jut out. `pooling`: max, mean, or a list of these, one per convolution. Dropout follows each pooling and each dense
    activation. Lengths are measured at the activations; pooled ones, no law of src/theory describes.
    Raises ValueError for inputs that are no images, sizes that are not positive, an unknown pooling, or a kernel or
    window larger than the image it is to go over.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        *,
        channels: Sequence[int],
        widths: Sequence[int],
        kernel_size: int = 5,
        padding: int = 0,
        pooling: str | Sequence[str] = "max",
        window: int = 2,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.kernel_size = positive_integer("kernel_size", kernel_size)
        self.padding = whole_number("padding", padding)
        self.window = whole_number("window", window, at_least=STRIDE)
        self.activation = activation
        self.dropout = fraction("dropout", dropout)
        channels, widths = _sizes("channels", channels, at_least=1), _sizes("widths", widths)
        sizes = pairwise([_checked_shape(input_shape)[0], *channels])
        self.image = nn.Identity()  # what enters, under a name
        self.convolutions = nn.ModuleList(
            self._layer(*pair, pool) for pair, pool in zip(sizes, _poolings(pooling, len(channels)), strict=True)
        )
        self.flatten = nn.Flatten()
        features = [channels[-1] * self._pixels(input_shape), *widths]
        self.dense = nn.ModuleList(dense_layer(*pair, activation, self.dropout) for pair in pairwise(features))
        self.readout = nn.Linear(features[-1], classes)
        self.measured_input = "image"
        self.measured_layers = [f"convolutions.{j}.activation" for j in range(len(channels))]
        self.measured_layers += [f"dense.{j}.activation" for j in range(len(widths))]

    def forward(self, inputs: Tensor) -> Tensor:
        activation = self.image(inputs)
        for layer in self.convolutions:
            activation = layer(activation)
        activation = self.flatten(activation)
        for layer in self.dense:
            activation = layer(activation)
        return self.readout(activation)

    def _layer(self, channels_in: int, channels_out: int, pooling: str) -> nn.Sequential:
        layer = nn.Sequential()
        layer.add_module("convolution", nn.Conv2d(channels_in, channels_out, self.kernel_size, padding=self.padding))
        layer.add_module("activation", activation_named(self.activation))
        layer.add_module("pooling", POOLINGS[pooling](self.window, STRIDE, ceil_mode=True))
        if self.dropout > 0:
            layer.add_module("dropout", nn.Dropout(self.dropout))
        return layer

    def _pixels(self, input_shape: Sequence[int]) -> int:
        """The number of pixels that the last pooling leaves."""
        sides = list(input_shape[1:])
        for _ in self.convolutions:
            sides = [self._pooled(side, input_shape) for side in sides]
        return sides[0] * sides[1]

    def _pooled(self, side: int, input_shape: Sequence[int]) -> int:
        """The side of an image after a convolution and its pooling."""
        convolved = side + 2 * self.padding - self.kernel_size + 1
        for setting, number, there in (
            ("kernel_size", self.kernel_size, side + 2 * self.padding),
            ("window", self.window, convolved),
        ):
            if number > there:
                more = max(self.padding + 1, self.kernel_size // 2)
                raise ValueError(
                    f"{setting} = {number}: larger than what is left of images of {input_shape[1]} × {input_shape[2]}, "
                    f"a side of {there}; padding = {more} or fewer layers leave more"
                )
        return -(-(convolved - self.window) // STRIDE) + 1


def _sizes(name: str, sizes: Sequence[int], *, at_least: int = 0) -> list[int]:
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or len(sizes) < at_least:
        several = " of at least one" if at_least else ""
        raise ValueError(f"{name} = {sizes!r}: must be a list{several}, a number for each layer")
    return [positive_integer(name, size) for size in sizes]


def _poolings(pooling: str | Sequence[str], convolutions: int) -> list[str]:
    poolings = [pooling] * convolutions if isinstance(pooling, str) else list(pooling)
    if len(poolings) != convolutions:
        raise ValueError(f"pooling = {pooling!r}: must be a name or a list of {convolutions}, one per convolution")
    return [one_of("pooling", name, POOLINGS) for name in poolings]


def _checked_shape(shape: Sequence[int]) -> Sequence[int]:
    if len(shape) != 3:
        raise ValueError(
            f"input_shape = {tuple(shape)}: must be (channels, height, width), as a datamodule of images has it"
        )
    return shape
