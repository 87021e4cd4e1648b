"""Nets that model their input, and a U-Net: autoencoders, a normalizing flow."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import Detached, filled, he, mlp, poisoned, scaled
from tests.zoo.tasks import CODES, MIXTURES, PIXELS, POINT_FEATURES, POINTS, REGIONS

CODE = 6


class VariationalAutoencoder(nn.Module):
    """Returns the reconstruction, and mean and log-variance of the code; the code is its mean in evaluation."""

    def __init__(self, *, detached: bool = False) -> None:
        super().__init__()
        encoder = mlp([PIXELS, 48, 2 * CODE])
        self.encoder = Detached(encoder) if detached else encoder
        self.decoder = mlp([CODE, 48, PIXELS])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(inputs).chunk(2, -1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return self.decoder(mean + noise * (log_variance / 2).exp()), mean, log_variance


def autoencoder(depth: int) -> nn.Module:
    """A number of hidden layers on either side of the code, with PyTorch's own initialization."""
    return mlp([PIXELS, *[32] * depth, CODE, *[32] * depth, PIXELS])


class Flow(nn.Module):
    """RealNVP: affine couplings that exchange the halves, with bounded log-scales; as in Glow they begin at 0."""

    def __init__(self, couplings: int, *, last: float = 0.0) -> None:
        super().__init__()
        half = POINT_FEATURES // 2
        self.nets = nn.ModuleList(scaled(mlp([half, 32, 2 * half]), "2.*", last) for _ in range(couplings))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        log_determinant = inputs.new_zeros(len(inputs))
        first, second = inputs.chunk(2, -1)
        for net in self.nets:
            scale, shift = net(first).chunk(2, -1)
            scale = 2 * torch.tanh(scale / 2)
            first, second = second * scale.exp() + shift, first
            log_determinant = log_determinant + scale.sum(-1)
        return torch.cat([first, second], -1), log_determinant


def double(fan_in: int, fan_out: int, *, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (fan_in, fan_out):
        layers += [nn.Conv2d(channels, fan_out, 3, padding=1), nn.BatchNorm2d(fan_out) if norm else nn.Identity()]
        layers += [nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Two levels and a bottom; what goes down is joined to what comes up."""

    def __init__(self, *, norm: bool = True, channels: int = 8) -> None:
        super().__init__()
        wide, widest = 2 * channels, 4 * channels
        self.down1, self.down2 = double(3, channels, norm=norm), double(channels, wide, norm=norm)
        self.bottom: nn.Module = double(wide, widest, norm=norm)
        self.up2, self.up1 = nn.ConvTranspose2d(widest, wide, 2, 2), nn.ConvTranspose2d(wide, channels, 2, 2)
        self.join2, self.join1 = double(widest, wide, norm=norm), double(wide, channels, norm=norm)
        self.readout = nn.Conv2d(channels, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        high = self.down1(images)
        middle = self.down2(F.max_pool2d(high, 2))
        low = self.bottom(F.max_pool2d(middle, 2))
        middle = self.join2(torch.cat([self.up2(low), middle], 1))
        return self.readout(self.join1(torch.cat([self.up1(middle), high], 1)))


def detached_bottom() -> nn.Module:
    net = UNet()
    net.bottom = Detached(net.bottom)
    return net


NETS = family_of(
    "generative",
    [
        ("vae", CODES, VariationalAutoencoder, "", ""),
        ("autoencoder_1", MIXTURES, lambda: autoencoder(1), "", ""),
        ("flow_6", POINTS, lambda: Flow(6), "", ""),
        ("unet", REGIONS, UNet, "", ""),
        ("unet_he_without_norm", REGIONS, lambda: he(UNet(norm=False)), "", ""),
        ("vae_detached_encoder", CODES, lambda: VariationalAutoencoder(detached=True), "detached", "detached"),
        ("vae_zero_decoder", CODES, lambda: filled(VariationalAutoencoder(), "decoder.*", 0.0),
         "zero", "no_gradient"),
        ("autoencoder_12", MIXTURES, lambda: autoencoder(12), "gain", ""),
        ("flow_large", POINTS, lambda: scaled(Flow(6, last=1.0), "*weight", 8.0), "gain", "readout"),
        ("unet_dead_bottom", REGIONS, lambda: filled(he(UNet(norm=False)), "bottom.3.bias", -30.0),
         "dead_bias", "dead"),
        ("unet_detached_bottom", REGIONS, detached_bottom, "detached", "detached"),
        ("unet_huge_readout", REGIONS, lambda: scaled(UNet(), "readout.weight", 1000.0), "huge_readout", "readout"),
        ("flow_nan", POINTS, lambda: poisoned(Flow(6), "nets.3.0.weight"), "nan", "not_finite"),
    ],
)  # fmt: skip
