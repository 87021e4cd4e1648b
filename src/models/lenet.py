"""LeNet and similar nets: convolutions with pooling after each, dense layers, and a linear readout."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from torch import Tensor, nn

from start_training.models.activation import ActivationName
from start_training.models.layer import activated, dense_layer
from start_training.models.sizes import ImageShape, LayerSizes
from start_training.settings import AtLeast, Fraction, PositiveInteger, WholeNumber, checked, one_of

POOLINGS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}
STRIDE = 2  # of every pooling


class LeNet(nn.Module):
    """act_j = pool_j φ(W_j ∗ act_{j−1} + b_j) for the convolutions, then dense layers φ(W act + b), then the logits.

    Lengths are measured after each activation, before pooling and dropout. No law of src/theory describes pooling.

    Args:
        input_shape: (channels, height, width).
        classes: Number of logits.
        channels: Channels of each convolution.
        widths: Units of each dense layer; may be empty.
        kernel_size: Side of the kernels.
        padding: Zeros around the image at each convolution.
        pooling: `max`, `mean`, or a list of these with one for each convolution.
        window: Side of the windows that are pooled. Windows begin two pixels apart, and as in Caffe the last one may
            reach beyond the image.
        activation: Name of φ, a key of `ACTIVATIONS`.
        dropout: Probability of dropping a unit after each pooling and each dense activation.

    Raises:
        ValueError: a setting has a value that is not allowed, inputs are no images, or a kernel or a window is larger
            than the image it is applied to.
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
        self.image = nn.Identity()  # gives the input a name under which it is measured
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
    """Pixels of an image after so many convolutions with their poolings."""
    sides = [*image]
    for _ in range(convolutions):
        for axis, side in enumerate(sides):
            padded, convolved = side + 2 * padding, side + 2 * padding - kernel_size + 1
            for setting, size, available in (("kernel_size", kernel_size, padded), ("window", window, convolved)):
                if size > available:
                    more = max(padding + 1, kernel_size // 2)
                    raise ValueError(
                        f"{setting} = {size}: larger than what is left of images of {image[0]} × {image[1]}, a side of "
                        f"{available}; padding = {more} or fewer layers leave more"
                    )
            sides[axis] = -(-(convolved - window) // STRIDE) + 1
    return sides[0] * sides[1]


def _poolings(pooling: str | Sequence[str], convolutions: int) -> list[str]:
    poolings = [pooling] * convolutions if isinstance(pooling, str) else list(pooling)
    if len(poolings) != convolutions:
        raise ValueError(f"pooling = {pooling!r}: must be a name or a list of {convolutions}, one per convolution")
    return [one_of("pooling", name, POOLINGS) for name in poolings]
