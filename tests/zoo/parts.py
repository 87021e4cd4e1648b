"""Parts that several families build from, and ways to break what is built."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def mlp(widths: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given widths, with an activation after each but the last."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


def he(net: nn.Module, gain: float = 1.0) -> nn.Module:
    """Weights of variance 2 · gain² / fan_in and zero biases in all linear and convolutional layers."""
    for module in net.modules():
        if isinstance(module, WEIGHTED):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            module.weight.data.mul_(gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def glorot(net: nn.Module) -> nn.Module:
    """Xavier's uniform weights in every matrix, and zero biases in linear layers."""
    for parameter in net.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for module in net.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return net


def changed(net: nn.Module, pattern: str, change: Callable[[Tensor], Any]) -> nn.Module:
    """Apply an in-place change to the parameters whose names match a shell pattern, of which there has to be one."""
    tensors = [tensor for name, tensor in net.named_parameters() if fnmatch(name, pattern)]
    assert tensors, pattern
    with torch.no_grad():
        for tensor in tensors:
            change(tensor)
    return net


def scaled(net: nn.Module, pattern: str, factor: float) -> nn.Module:
    """Multiply the parameters whose names match a pattern."""
    return changed(net, pattern, lambda tensor: tensor.mul_(factor))


def filled(net: nn.Module, pattern: str, value: float) -> nn.Module:
    """Set the parameters whose names match a pattern to one value."""
    return changed(net, pattern, lambda tensor: tensor.fill_(value))


def poisoned(net: nn.Module, pattern: str) -> nn.Module:
    """Set one entry of the parameters whose names match a pattern to NaN."""
    return changed(net, pattern, lambda tensor: tensor.view(-1)[0].fill_(float("nan")))


def frozen(net: nn.Module) -> nn.Module:
    """Make no parameter trainable."""
    return net.requires_grad_(False)


def with_dropout(net: nn.Sequential, share: float) -> nn.Sequential:
    """Put dropout after each ReLU of a sequence."""
    layers = [[layer, nn.Dropout(share)] if isinstance(layer, nn.ReLU) else [layer] for layer in net]
    return nn.Sequential(*(layer for pair in layers for layer in pair))


class Detached(nn.Module):
    """A part through which no gradient passes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Any) -> Tensor:
        return self.net(*inputs).detach()


class HalfPrecision(nn.Module):
    """A net whose forward pass is in fp16 under autocast; its parameters stay in float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Any) -> Any:
        with torch.autocast("cpu", torch.float16):
            return self.net(*inputs)


class Residual(nn.Module):
    """x + scale · branch(x)."""

    def __init__(self, branch: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.branch = branch
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.scale * self.branch(inputs)
