"""Convolutional nets without normalization, plain and residual."""

from torch import nn

from tests.zoo.net import family_of
from tests.zoo.parts import HalfPrecision, Residual, filled, he, scaled
from tests.zoo.tasks import GRATINGS

DIRECTIONS = 4


def readout(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, DIRECTIONS)]


def convolution(fan_in: int, fan_out: int) -> nn.Conv2d:
    return nn.Conv2d(fan_in, fan_out, 3, padding=1)


def plain(depth: int, channels: int = 12) -> nn.Sequential:
    """Layers with PyTorch's own initialization, ReLU, and a readout of the mean over all places."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [convolution(channels if index else 3, channels), nn.ReLU()]
    return nn.Sequential(*layers, *readout(channels))


def vgg() -> nn.Sequential:
    """Six layers, with two poolings, and a hidden linear layer, as VGG builds."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((3, 12), (12, 12), (12, 16), (16, 16), (16, 24), (24, 24)):
        layers += [convolution(fan_in, fan_out), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if fan_in == fan_out < 24 else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(24 * 4, 32), nn.ReLU(), nn.Linear(32, DIRECTIONS))


def residual(blocks: int, scale: float, *, last: float = 1.0, channels: int = 12) -> nn.Module:
    """Blocks of two layers, He-initialized; the last weight of each branch is multiplied by `last`."""

    def branch() -> nn.Module:
        layers = nn.Sequential(convolution(channels, channels), nn.ReLU(), convolution(channels, channels))
        return scaled(he(layers), "2.weight", last)

    stack = [Residual(branch(), scale) for _ in range(blocks)]
    return nn.Sequential(convolution(3, channels), *stack, nn.ReLU(), *readout(channels))


def he_plain(depth: int, channels: int = 12, gain: float = 1.0) -> nn.Module:
    return he(plain(depth, channels), gain)


NETS = family_of(
    "convolutional",
    [
        ("cnn_4", GRATINGS, lambda: plain(4), "", ""),
        ("cnn_he_8", GRATINGS, lambda: he_plain(8), "", ""),
        ("cnn_he_16", GRATINGS, lambda: he_plain(16, 24), "", ""),
        ("vgg_he", GRATINGS, lambda: he(vgg()), "", ""),
        ("resnet_scaled_20", GRATINGS, lambda: residual(20, 20**-0.5), "", ""),
        ("resnet_zero_branches_12", GRATINGS, lambda: residual(12, 1.0, last=0.0), "", ""),
        ("cnn_40", GRATINGS, lambda: plain(40), "unnormalized gain", ""),
        ("cnn_narrow_60", GRATINGS, lambda: he_plain(60, 2), "width", ""),
        ("vgg_normal_001", GRATINGS, lambda: scaled(he(vgg()), "*.weight", 0.05), "gain", ""),
        ("resnet_unscaled_50", GRATINGS, lambda: residual(50, 1.0), "branch_scale", "readout"),
        ("cnn_one_layer_small", GRATINGS, lambda: scaled(he_plain(10), "8.weight", 1e-4), "one_layer", "jump"),
        ("cnn_dead_bias", GRATINGS, lambda: filled(he_plain(6), "4.bias", -30.0), "dead_bias", "dead"),
        ("cnn_symmetric", GRATINGS, lambda: filled(he_plain(4), "*.weight", 0.03), "symmetric", "symmetric"),
        ("cnn_huge_readout", GRATINGS, lambda: scaled(he_plain(4), "10.weight", 1000.0), "huge_readout", "readout"),
        (
            "cnn_overflow",
            GRATINGS,
            lambda: HalfPrecision(he_plain(8, gain=6.0)),
            "fp16_overflow gain",
            "not_finite",
        ),
    ],
)
