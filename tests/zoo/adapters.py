"""Frozen nets with a few trainable parameters."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import Detached, filled, frozen, he, mlp, scaled, with_dropout
from tests.zoo.tasks import CLASSES, FEATURES, VECTORS

WIDTH = 32


def backbone(depth: int = 3) -> nn.Module:
    """He-initialized and frozen, with a ReLU at its end."""
    return frozen(nn.Sequential(*he(mlp([FEATURES, *[WIDTH] * depth])), nn.ReLU()))


class LowRank(nn.Module):
    """LoRA: a frozen layer and a trainable product of two thin matrices, of which the second begins at 0."""

    def __init__(self, layer: nn.Linear, rank: int = 4, *, scale: float = 2.0) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) * layer.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) + self.scale * inputs @ self.down.T @ self.up.T


class Bottleneck(nn.Module):
    """Houlsby's adapter: a narrow net, added, that begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.net = filled(mlp([WIDTH, 8, WIDTH], nn.GELU), "2.*", 0.0)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.net(inputs)


def low_rank(depth: int = 3) -> nn.Module:
    """LoRA on every layer of a backbone, and a trainable readout."""
    adapted = [LowRank(layer) if isinstance(layer, nn.Linear) else layer for layer in backbone(depth)]
    return nn.Sequential(*adapted, nn.Linear(WIDTH, CLASSES))


def bottlenecks(base: Callable[[], nn.Module] = backbone) -> nn.Module:
    """An adapter after each ReLU of a backbone, and a trainable readout."""
    layers = [[layer, Bottleneck()] if isinstance(layer, nn.ReLU) else [layer] for layer in base()]
    return nn.Sequential(*(layer for pair in layers for layer in pair), nn.Linear(WIDTH, CLASSES))


def probe(base: nn.Module) -> nn.Module:
    return nn.Sequential(base, nn.Linear(WIDTH, CLASSES))


def only_biases() -> nn.Module:
    """BitFit: of a He-initialized net, biases alone are trained, and the readout."""
    net = nn.Sequential(*he(mlp([FEATURES, *[64] * 3])), nn.ReLU(), nn.Linear(64, CLASSES))
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.endswith("bias") or name.startswith("6."))
    return net


def frozen_readout(net: nn.Module) -> nn.Module:
    """Keep the readout at its random weights, so that the adapters alone can learn."""
    frozen(net[len(net) - 1])
    return net


def dead_backbone() -> nn.Module:
    return filled(backbone(), "2.bias", -20.0)


def detached_adapters() -> nn.Module:
    """The adapters of the first layers get no gradient, the readout does."""
    net = bottlenecks()
    return nn.Sequential(Detached(net[:-1]), net[len(net) - 1])


def both_zero() -> nn.Module:
    """LoRA with both matrices at 0 and a frozen readout: neither ever gets a gradient."""
    return frozen_readout(filled(low_rank(), "*down", 0.0))


NETS = family_of(
    "adapters",
    [
        ("lora", VECTORS, low_rank, "", ""),
        ("lora_frozen_readout", VECTORS, lambda: frozen_readout(low_rank()), "", ""),
        ("bottlenecks", VECTORS, bottlenecks, "", ""),
        ("linear_probe", VECTORS, lambda: probe(backbone(2)), "", ""),
        ("bitfit", VECTORS, only_biases, "", ""),
        ("lora_both_zero", VECTORS, both_zero, "zero", "no_gradient"),
        ("lora_frozen", VECTORS, lambda: frozen(low_rank()), "frozen", "no_gradient"),
        ("lora_huge_readout", VECTORS, lambda: scaled(low_rank(), "6.weight", 1000.0), "huge_readout", "readout"),
        ("probe_dead_backbone", VECTORS, lambda: probe(dead_backbone()), "dead_bias", "dead"),
        ("probe_gain_small", VECTORS, lambda: probe(scaled(backbone(8), "*.weight", 0.2)), "gain", ""),
        ("bottlenecks_detached", VECTORS, detached_adapters, "detached", "detached"),
        ("bottlenecks_dropout", VECTORS, lambda: with_dropout(bottlenecks(), 0.99), "dropout", "dropout"),
    ],
)
