"""The net of the edge of chaos: one square hidden layer without biases, and a linear readout."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from start_training.models.activation import ActivationName
from start_training.models.layer import activated
from start_training.settings import PositiveInteger, checked


class SquareLayer(nn.Module):
    """act = φ(W x), logits = V act + b, with W of shape (N, N), N the number of inputs, and without biases.

    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437): N = 784 tanh units.

    Args:
        input_shape: Shape of one input.
        classes: Number of logits.
        width: The value that N must have; None accepts any.
        window: Images are first reduced to the means of squares of window × window pixels, which divides N by
            window²: 28 × 28 pixels are N = 784 with window 1 and N = 196 with window 2.
        activation: Name of φ, a key of `ACTIVATIONS`.

    Raises:
        ValueError: window does not divide the sides of the image, width is not N, or there is no such activation.
    """

    @checked
    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        *,
        width: PositiveInteger | None = None,
        window: PositiveInteger = 1,
        activation: ActivationName = "tanh",
    ) -> None:
        super().__init__()
        if window > 1 and (len(input_shape) != 3 or any(side % window for side in input_shape[1:])):
            raise ValueError(f"window = {window}: must divide the sides of images, and inputs are {tuple(input_shape)}")
        self.window = window
        self.width = prod(input_shape) // window**2
        if width not in (None, self.width):
            raise ValueError(f"width = {width}: must be {self.width}, the number of inputs, for a square layer")
        self.activation = activation
        self.image = nn.AvgPool2d(window) if window > 1 else nn.Identity()
        self.flatten = nn.Flatten()
        self.hidden = activated("linear", nn.Linear(self.width, self.width, bias=False), activation)
        self.readout = nn.Linear(self.width, classes)
        self.measured_input = "flatten"
        self.measured_layers = ["hidden.activation"]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.hidden(self.flatten(self.image(inputs))))
