"""A net with one square hidden layer without biases and a linear readout, for studies of the edge of chaos."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from start_training.models.activation import ActivationName
from start_training.models.layer import activated
from start_training.settings import PositiveInteger, checked


class SquareLayer(nn.Module):
    """A net act = φ(W x) with logits = V act + b, where W is a square (N, N) matrix and N the number of inputs.

    The hidden layer has no biases. Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), with N = 784 tanh units.

    Args:
        input_shape: Shape of one input.
        classes: Number of outputs: of classes, or of the numbers or labels of another task.
        width: The expected value of N, which is checked; None accepts any N.
        window: Side of the squares of pixels over which images are averaged first, which divides N by window²: images
            of 28 × 28 pixels give N = 784 with window 1 and N = 196 with window 2.
        activation: Name of φ, a key of `ACTIVATIONS`.

    Raises:
        ValueError: window does not divide the sides of the image, width is not N, or activation is not a key of
            `ACTIVATIONS`.
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
            raise ValueError(
                f"window = {window}: must divide height and width of images, but inputs have shape {tuple(input_shape)}"
            )
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
