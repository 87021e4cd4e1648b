"""Custom nets for tests of replicas, some of which cannot be vectorized; and nets of the project by name."""

from functools import partial

import torch
from torch import Tensor, nn

from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual


class Normalized(nn.Module):
    """Two layers with batch normalization, of which the first is scaled by the attribute `eta`."""

    def __init__(self, input_size: int, classes: int, *, width: int = 12, eta: float = 1.0) -> None:
        super().__init__()
        self.eta = eta
        self.first, self.norm = nn.Linear(input_size, width, bias=False), nn.BatchNorm1d(width)
        self.activation = nn.ReLU()
        self.readout = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.activation(self.norm(self.eta * self.first(inputs.flatten(1)))))


class InPlace(nn.Module):
    """Activations that work in place, and an in-place addition to a measured activation."""

    def __init__(self, input_size: int, classes: int, *, width: int = 12) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(input_size, width), nn.Linear(width, width)
        self.activation = nn.ReLU(inplace=True)
        self.last = nn.GELU()  # its backward pass needs the input, not the output
        self.readout = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.activation(self.first(inputs.flatten(1)))
        out = self.last(self.second(hidden))
        out += hidden
        return self.readout(out)


class Patches(nn.Module):
    """A layer applied to both halves of the input, folded into the batch axis, and a readout of their sum."""

    def __init__(self, input_size: int, classes: int) -> None:
        super().__init__()
        self.first, self.readout = nn.Linear(input_size // 2, 6), nn.Linear(6, classes)
        self.activation, self.last = nn.ReLU(), nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        halves = self.activation(self.first(inputs.flatten(1).unflatten(1, (2, -1)).flatten(0, 1)))
        return self.readout(self.last(halves.unflatten(0, (-1, 2)).sum(1)))


class Tied(nn.Module):
    """Two layers with tied weights, a frozen layer, and a non-persistent buffer."""

    shift: Tensor

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.frozen, self.first, self.second = (nn.Linear(size, size) for _ in range(3))
        self.frozen.requires_grad_(False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("shift", torch.randn(size), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scale * self.second(torch.tanh(self.first(self.frozen(inputs) + self.shift)))


class Frozen(InPlace):
    """A frozen layer between two trained layers."""

    def __init__(self, input_size: int, classes: int) -> None:
        super().__init__(input_size, classes)
        self.second.requires_grad_(False)


class Settled(Normalized):
    """Batch normalization in evaluation mode during training, set in the constructor."""

    def __init__(self, input_size: int, classes: int) -> None:
        super().__init__(input_size, classes)
        self.norm.eval()


class Counting(nn.Linear):
    """A layer that counts its forward passes in a Python number and divides its output by it."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.passes = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(inputs) / self.passes


class Hooked(nn.Linear):
    """A layer with a forward hook that refers to the layer itself."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_forward_hook(lambda module, inputs, outputs: outputs * self.bias.exp().mean())


class Branching(nn.Linear):
    """A layer with control flow that depends on its weights."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) if self.weight.sum() > 0 else -super().forward(inputs)


class Idle(nn.Linear):
    """A layer with a child that is not used."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.unused = nn.Linear(2, 2)


class Averaging(nn.Linear):
    """A layer that divides by a running mean of squared outputs, a buffer that every forward pass replaces."""

    mean: Tensor

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("mean", torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = super().forward(inputs)
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * outputs.detach().square().mean()
        return outputs / self.mean.sqrt()


class Gated(nn.Module):
    """Two branches that read the inputs, of which the second is multiplied by a parameter that is initially 0."""

    def __init__(self, input_size: int, classes: int, *, width: int = 12) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(input_size, width), nn.Linear(input_size, width)
        self.gate = nn.Parameter(torch.zeros(()))
        self.readout = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.flatten(1)
        return self.readout(torch.relu(self.first(inputs) + self.gate * self.second(inputs)))


SHAPE = (1, 4, 4)
NETS = {
    "fully connected": partial(FullyConnected, 16, 3, depth=2, width=5),
    "dropout": partial(FullyConnected, 16, 3, depth=2, width=5, dropout=0.5),
    "residual": partial(Residual, 16, 3, modules=2, width=5),
    "convolutional": partial(Convolutional, SHAPE, 3, depth=2, channels=2),
    "in place": partial(InPlace, 16, 3),
    "patches": partial(Patches, 16, 3),
    "normalized": partial(Normalized, 16, 3),
}


VECTORIZED = sorted(NETS.keys() - {"dropout"})
