"""Nets with batch, layer, group or weight normalization."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.zoo.convolutional import convolution, readout
from tests.zoo.net import family_of
from tests.zoo.parts import filled, poisoned, scaled, with_dropout
from tests.zoo.tasks import CLASSES, FEATURES, GRATINGS, VECTORS

Norm = Callable[[int], nn.Module]


def dense(depth: int, norm: Norm, width: int = 32) -> nn.Sequential:
    """Linear, norm and ReLU, over and over."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(width if index else FEATURES, width), norm(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def plain(depth: int, norm: Norm = nn.BatchNorm2d, channels: int = 12) -> nn.Sequential:
    """Convolution, norm and ReLU, over and over, without skips."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [convolution(channels if index else 3, channels), norm(channels), nn.ReLU()]
    return nn.Sequential(*layers, *readout(channels))


class Basic(nn.Module):
    """The basic block of a ResNet, without a change of shape."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.first, self.second = convolution(channels, channels), convolution(channels, channels)
        self.norm1, self.norm2 = norm(channels), norm(channels)
        self.activation = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        branch = self.activation(self.norm1(self.first(inputs)))
        return self.activation(inputs + self.norm2(self.second(branch)))


def resnet(blocks: int, norm: Norm = nn.BatchNorm2d, channels: int = 12) -> nn.Module:
    stem = [convolution(3, channels), norm(channels), nn.ReLU()]
    return nn.Sequential(*stem, *[Basic(channels, norm) for _ in range(blocks)], *readout(channels))


class ConvNext(nn.Module):
    """Depthwise convolution, layer norm, an inverted bottleneck, and a layer scale of 10⁻⁶."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        widen, narrow = nn.Conv2d(channels, 4 * channels, 1), nn.Conv2d(4 * channels, channels, 1)
        self.branch = nn.Sequential(depthwise, nn.GroupNorm(1, channels), widen, nn.GELU(), narrow)
        self.layer_scale = nn.Parameter(filled(nn.Conv2d(channels, 1, 1), "*", 1e-6).weight.detach()[0])

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.layer_scale * self.branch(inputs)


def convnext(blocks: int, channels: int = 12) -> nn.Module:
    stem = [nn.Conv2d(3, channels, 2, stride=2), nn.GroupNorm(1, channels)]
    return nn.Sequential(*stem, *[ConvNext(channels) for _ in range(blocks)], nn.GELU(), *readout(channels))


def weight_normalized(depth: int, width: int = 32) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [weight_norm(nn.Linear(width if index else FEATURES, width)), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def four_groups(channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels)


NETS = family_of(
    "normalized",
    [
        ("mlp_batch_norm_8", VECTORS, lambda: dense(8, nn.BatchNorm1d), "", ""),
        ("mlp_layer_norm_12", VECTORS, lambda: dense(12, nn.LayerNorm), "", ""),
        ("mlp_weight_norm_4", VECTORS, lambda: weight_normalized(4), "", ""),
        ("cnn_batch_norm_6", GRATINGS, lambda: plain(6), "", ""),
        ("resnet_8", GRATINGS, lambda: resnet(8), "", ""),
        ("resnet_group_norm_8", GRATINGS, lambda: resnet(8, four_groups), "", ""),
        ("resnet_zero_init_8", GRATINGS, lambda: filled(resnet(8), "*norm2.weight", 0.0), "", ""),
        ("convnext_6", GRATINGS, lambda: convnext(6), "", ""),
        ("mlp_batch_norm_60", VECTORS, lambda: dense(60, nn.BatchNorm1d), "no_skips", ""),
        ("cnn_batch_norm_50", GRATINGS, lambda: plain(50), "no_skips", ""),
        ("mlp_layer_norm_zero", VECTORS, lambda: filled(dense(6, nn.LayerNorm), "7.*", 0.0), "zero", "dead"),
        ("cnn_batch_norm_dead", GRATINGS, lambda: filled(plain(6), "7.bias", -20.0), "dead_bias", "dead"),
        ("resnet_huge_readout", GRATINGS, lambda: scaled(resnet(4), "9.weight", 1000.0), "huge_readout", "readout"),
        ("resnet_nan", GRATINGS, lambda: poisoned(resnet(4), "4.first.weight"), "nan", "not_finite"),
        ("mlp_layer_norm_dropout", VECTORS, lambda: with_dropout(dense(6, nn.LayerNorm), 0.99), "dropout", "dropout"),
    ],
)
