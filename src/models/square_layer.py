"""One square hidden layer without biases, whose weights have a phase, and a linear readout."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from start_training.models.activation import activation_named
from start_training.settings import positive_integer


class SquareLayer(nn.Module):
    """act = φ(W x), logits = V act + b, with W of shape (N, N), N the number of inputs, and without biases.

    window: images are first reduced to the means of squares of window × window pixels, so that N is a part of them:
    28 × 28 pixels are N = 784 with window 1, N = 196 with 2. width: N, to be told where another is expected; null
    takes what there is.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437): N = 784 tanh units.
    Raises ValueError for a window that does not divide the image, or a width that is not N.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        *,
        width: int | None = None,
        window: int = 1,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.window = positive_integer("window", window)
        self.width = self._inputs(input_shape)
        if width is not None and positive_integer("width", width) != self.width:
            raise ValueError(f"width = {width}: must be {self.width}, the number of inputs, for a square layer")
        self.activation = activation
        self.image = nn.AvgPool2d(self.window) if self.window > 1 else nn.Identity()
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential()
        self.hidden.add_module("linear", nn.Linear(self.width, self.width, bias=False))
        self.hidden.add_module("activation", activation_named(activation))
        self.readout = nn.Linear(self.width, classes)
        self.measured_input = "flatten"
        self.measured_layers = ["hidden.activation"]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.hidden(self.flatten(self.image(inputs))))

    def _inputs(self, shape: Sequence[int]) -> int:
        if self.window > 1 and (len(shape) != 3 or any(side % self.window for side in shape[1:])):
            raise ValueError(f"window = {self.window}: must divide the sides of images, and inputs are {tuple(shape)}")
        return prod(shape) // self.window**2
