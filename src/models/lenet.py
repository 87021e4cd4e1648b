"""LeNet and similar nets: convolutions with pooling, dense layers, and a linear readout."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from torch import Tensor, nn

from start_training.models.activation import ActivationName
from start_training.models.layer import activated, dense_layer
from start_training.models.sizes import ImageShape, LayerSizes
from start_training.settings import AtLeast, Fraction, PositiveInteger, WholeNumber, checked, one_of

POOLINGS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}
STRIDE = 2  # stride of every pooling layer


class LeNet(nn.Module):
    """A net of convolutional layers pool_j(φ(W_j ∗ act + b_j)), then dense layers φ(W act + b), then a linear readout.

    Lengths are measured after each activation, before pooling and dropout. Theory has no predictions for this net,
    because no law in src/theory covers pooling.

    Args:
        input_shape: (channels, height, width).
        classes: Number of outputs: of classes, or of the numbers or labels of another task.
        channels: Channels of each convolution.
        widths: Units of each dense layer; may be empty.
        kernel_size: Side of the kernels.
        padding: Width of the zero padding of each convolution.
        pooling: `max`, `mean`, or a list of these names with one for each convolution.
        window: Side of the pooling windows. The stride is 2, and as in Caffe the last window may extend beyond the
            image.
        activation: Name of φ, a key of `ACTIVATIONS`.
        dropout: Probability of dropping a unit after each pooling and each dense activation.

    Raises:
        ValueError: a setting has a value that is not allowed, input_shape is not that of an image, or a kernel or
            window is larger than the image to which it is applied.
    """

    @checked
    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        channels: Sequence[PositiveInteger],
        widths: LayerSizes,
        kernel_size: PositiveInteger = 5,
        padding: WholeNumber = 0,
        pooling: str | Sequence[str] = "max",
        window: Annotated[int, AtLeast(STRIDE)] = 2,
        activation: ActivationName = "relu",
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.image = nn.Identity()  # a named module whose output is measured as the input
        sizes_of_convolutions = pairwise([input_shape[0], *channels])
        self.convolutions = nn.Sequential(
            *(
                activated(
                    "convolution",
                    nn.Conv2d(*sizes, kernel_size, padding=padding),
                    activation,
                    dropout=dropout,
                    pooling=POOLINGS[pool](window, STRIDE, ceil_mode=True),
                )
                for sizes, pool in zip(sizes_of_convolutions, _poolings(pooling, len(channels)), strict=True)
            )
        )
        self.flatten = nn.Flatten()
        geometry = {"kernel_size": kernel_size, "padding": padding, "window": window}
        features = [channels[-1] * _pixels(input_shape[1:], len(channels), **geometry), *widths]
        self.dense = nn.Sequential(*(dense_layer(*sizes, activation, dropout) for sizes in pairwise(features)))
        self.readout = nn.Linear(features[-1], classes)
        self.measured_input = "image"
        self.measured_layers = [f"convolutions.{j}.activation" for j in range(len(channels))]
        self.measured_layers += [f"dense.{j}.activation" for j in range(len(widths))]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.dense(self.flatten(self.convolutions(self.image(inputs)))))


def _pixels(image: Sequence[int], convolutions: int, *, kernel_size: int, padding: int, window: int) -> int:
    """Compute the number of pixels of an image after the given number of convolutions with pooling."""
    sides = [*image]
    for _ in range(convolutions):
        for axis, side in enumerate(sides):
            padded, convolved = side + 2 * padding, side + 2 * padding - kernel_size + 1
            for setting, size, available in (("kernel_size", kernel_size, padded), ("window", window, convolved)):
                if size > available:
                    more = max(padding + 1, kernel_size // 2)
                    raise ValueError(
                        f"{setting} = {size}: must be at most {available}, the side to which images of {image[0]} × "
                        f"{image[1]} pixels have shrunk; set padding = {more} or use fewer convolutions"
                    )
            sides[axis] = -(-(convolved - window) // STRIDE) + 1
    return sides[0] * sides[1]


def _poolings(pooling: str | Sequence[str], convolutions: int) -> list[str]:
    poolings = [pooling] * convolutions if isinstance(pooling, str) else list(pooling)
    if len(poolings) != convolutions:
        raise ValueError(f"pooling = {pooling!r}: must be a name or a list of {convolutions}, one per convolution")
    return [one_of("pooling", name, POOLINGS) for name in poolings]
