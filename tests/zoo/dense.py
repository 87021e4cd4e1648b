"""Fully connected nets."""

from torch import nn

from tests.zoo.net import family_of
from tests.zoo.parts import (
    Detached,
    HalfPrecision,
    Residual,
    filled,
    frozen,
    glorot,
    he,
    mlp,
    poisoned,
    scaled,
    with_dropout,
)
from tests.zoo.tasks import CLASSES, FEATURES, VECTORS


def plain(depth: int, width: int = 32, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A number of hidden layers and a readout, with PyTorch's own initialization."""
    return mlp([FEATURES, *[width] * depth, CLASSES], activation)


def residual(blocks: int, scale: float, width: int = 32) -> nn.Module:
    """Blocks of two layers without normalization, He-initialized; the readout is PyTorch's."""
    branches = [he(mlp([width, width, width])) for _ in range(blocks)]
    return nn.Sequential(
        nn.Linear(FEATURES, width), *[Residual(branch, scale) for branch in branches], nn.Linear(width, CLASSES)
    )


def small_readout(net: nn.Module) -> nn.Module:
    """The last layer of a He-initialized sequence has variance 1 / fan_in, so that logits are of order 1."""
    return scaled(net, f"{len(net) - 1}.weight", 0.5**0.5)


def he_plain(depth: int, width: int = 32, gain: float = 1.0) -> nn.Module:
    return small_readout(he(plain(depth, width), gain))


def double_softmax() -> nn.Module:
    return nn.Sequential(*he_plain(3), nn.Softmax(-1))


def detached_front() -> nn.Module:
    return nn.Sequential(Detached(he(mlp([FEATURES, 32, 32]))), nn.ReLU(), he(mlp([32, 32, CLASSES])))


NETS = family_of(
    "dense",
    [
        ("linear", VECTORS, lambda: plain(0), "", ""),
        ("mlp_3", VECTORS, lambda: plain(3), "", ""),
        ("mlp_6", VECTORS, lambda: plain(6), "", ""),
        ("mlp_8", VECTORS, lambda: plain(8), "", ""),
        ("mlp_he_6", VECTORS, lambda: he_plain(6), "", ""),
        ("mlp_he_20", VECTORS, lambda: he_plain(20, 64), "", ""),
        ("mlp_tanh_glorot_10", VECTORS, lambda: glorot(plain(10, 32, nn.Tanh)), "", ""),
        ("mlp_gelu_3", VECTORS, lambda: plain(3, 32, nn.GELU), "", ""),
        ("mlp_residual_scaled_40", VECTORS, lambda: residual(40, 40**-0.5), "", ""),
        ("mlp_half_precision", VECTORS, lambda: HalfPrecision(he_plain(6)), "", ""),
        ("mlp_12", VECTORS, lambda: plain(12), "gain", ""),
        ("mlp_20", VECTORS, lambda: plain(20), "gain", ""),
        ("mlp_tanh_30", VECTORS, lambda: plain(30, 32, nn.Tanh), "gain", ""),
        ("mlp_sigmoid_20", VECTORS, lambda: plain(20, 32, nn.Sigmoid), "gain", ""),
        ("mlp_he_20_gain_half", VECTORS, lambda: he_plain(20, gain=0.5), "gain", ""),
        ("mlp_he_20_gain_3", VECTORS, lambda: he_plain(20, gain=3.0), "gain", "readout"),
        ("mlp_width_4_depth_60", VECTORS, lambda: he_plain(60, 4), "width", ""),
        ("mlp_one_layer_small", VECTORS, lambda: scaled(he_plain(12), "10.weight", 1e-4), "one_layer", "jump"),
        ("mlp_one_layer_large", VECTORS, lambda: scaled(he_plain(8), "6.weight", 1e4), "one_layer", "jump readout"),
        ("mlp_residual_unscaled_80", VECTORS, lambda: residual(80, 1.0), "branch_scale", "readout"),
        ("mlp_dead_bias", VECTORS, lambda: filled(he_plain(5), "4.bias", -20.0), "dead_bias", "dead"),
        ("mlp_symmetric", VECTORS, lambda: filled(he_plain(4), "[0246].weight", 0.05), "symmetric", "symmetric"),
        ("mlp_zero", VECTORS, lambda: filled(plain(4), "*", 0.0), "zero", "no_gradient"),
        ("mlp_nan", VECTORS, lambda: poisoned(he_plain(4), "2.weight"), "nan", "not_finite"),
        ("mlp_huge_readout", VECTORS, lambda: scaled(he_plain(4), "8.weight", 1000.0), "huge_readout", "readout"),
        ("mlp_frozen", VECTORS, lambda: frozen(he_plain(4)), "frozen", "no_gradient"),
        ("mlp_dropout", VECTORS, lambda: with_dropout(he_plain(6), 0.99), "dropout", "dropout"),
        ("mlp_double_softmax", VECTORS, double_softmax, "double_softmax", "double_softmax"),
        ("mlp_detached_front", VECTORS, detached_front, "detached", "detached"),
        ("mlp_overflow", VECTORS, lambda: HalfPrecision(he_plain(8, gain=6.0)), "fp16_overflow gain", "not_finite"),
    ],
)
