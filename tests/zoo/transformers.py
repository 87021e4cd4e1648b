"""Encoders: pre-norm and post-norm transformers, and attention without what keeps tokens apart."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import Detached, filled, frozen, glorot, scaled
from tests.zoo.tasks import CLASSES, SEQUENCES, TOKEN_FEATURES, TOKENS

WIDTH = 32


class Attention(nn.Module):
    """Self-attention of torch, with one argument."""

    def __init__(self, width: int = WIDTH, heads: int = 4, *, causal: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.causal = causal

    def forward(self, inputs: Tensor) -> Tensor:
        length = inputs.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        return self.attention(inputs, inputs, inputs, attn_mask=mask, need_weights=False)[0]


class Encoder(nn.Module):
    """A projection of the tokens, positions, a body, and a readout of each token."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.project = nn.Linear(TOKEN_FEATURES, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(TOKENS, WIDTH))
        self.body = body
        self.readout = nn.Linear(WIDTH, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.body(self.project(inputs) + self.positions))


def stack(blocks: int, *, norm_first: bool, dropout: float = 0.0, **settings: Any) -> nn.Module:
    """torch's encoder, with Xavier's weights in every block as `nn.Transformer` draws them."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, 4, 2 * WIDTH, dropout, norm_first=norm_first, batch_first=True, **settings
    )
    last = nn.LayerNorm(WIDTH) if norm_first else None
    return glorot(nn.TransformerEncoder(layer, blocks, norm=last, enable_nested_tensor=False))


def encoder(blocks: int, *, norm_first: bool, **settings: Any) -> nn.Module:
    return Encoder(stack(blocks, norm_first=norm_first, **settings))


class WithoutNorm(nn.Module):
    """Attention and a feed-forward net, each added to its input, without normalization."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.attention = Attention()
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs + self.scale * self.attention(inputs)
        return inputs + self.scale * self.feed_forward(inputs)


def without_norm(blocks: int, scale: float, factor: float = 1.0) -> nn.Module:
    body = nn.Sequential(*[WithoutNorm(scale) for _ in range(blocks)])
    return Encoder(scaled(glorot(body), "*weight", factor))


def attention_only(layers: int, *, norm: bool) -> nn.Module:
    """Attention alone, without skips: each layer averages over the tokens."""
    body = [[Attention(), nn.LayerNorm(WIDTH) if norm else nn.Identity()] for _ in range(layers)]
    return Encoder(nn.Sequential(*(module for pair in body for module in pair)))


def saturated(net: nn.Module, factor: float = 20.0) -> nn.Module:
    """Multiply queries and keys of every attention."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.in_proj_weight[: 2 * module.embed_dim].mul_(factor)
    return net


def detached_front() -> nn.Module:
    """The first blocks get no gradient."""
    return Encoder(nn.Sequential(Detached(stack(3, norm_first=True)), stack(1, norm_first=True)))


def deep_norm(blocks: int) -> nn.Module:
    """Post-norm with the branches' weights scaled down as DeepNorm has it: (8 · blocks)^(−1/4)."""
    net = encoder(blocks, norm_first=False)
    for pattern in ("*linear1.weight", "*linear2.weight", "*out_proj.weight"):
        scaled(net, pattern, (8 * blocks) ** -0.25)
    return net


def symmetric() -> nn.Module:
    """In every feed-forward net the hidden units are equal."""
    return filled(filled(encoder(3, norm_first=True), "*linear1.weight", 0.1), "*linear2.weight", 0.1)


NETS = family_of(
    "transformers",
    [
        ("encoder_pre_norm_2", SEQUENCES, lambda: encoder(2, norm_first=True), "", ""),
        ("encoder_pre_norm_12", SEQUENCES, lambda: encoder(12, norm_first=True), "", ""),
        ("encoder_pre_norm_gelu_6", SEQUENCES, lambda: encoder(6, norm_first=True, activation="gelu"), "", ""),
        ("encoder_post_norm_2", SEQUENCES, lambda: encoder(2, norm_first=False), "", ""),
        ("encoder_post_norm_4", SEQUENCES, lambda: encoder(4, norm_first=False), "", ""),
        ("encoder_deep_norm_8", SEQUENCES, lambda: deep_norm(8), "", ""),
        ("encoder_without_norm_scaled_8", SEQUENCES, lambda: without_norm(8, 8**-0.5), "", ""),
        ("encoder_post_norm_24", SEQUENCES, lambda: encoder(24, norm_first=False), "deep_post_norm", "rank_collapse"),
        ("encoder_saturated", SEQUENCES, lambda: saturated(encoder(6, norm_first=True)),
         "saturated_attention", "saturated_attention"),
        ("encoder_attention_only_norm_24", SEQUENCES, lambda: attention_only(24, norm=True),
         "rank_collapse", "rank_collapse"),
        ("encoder_attention_only_12", SEQUENCES, lambda: attention_only(12, norm=False),
         "rank_collapse unnormalized", "rank_collapse"),
        ("encoder_without_norm_large_16", SEQUENCES, lambda: without_norm(16, 1.0, 2.0),
         "unnormalized branch_scale", "rank_collapse readout"),
        ("encoder_huge_readout", SEQUENCES, lambda: scaled(encoder(2, norm_first=True), "readout.weight", 1000.0),
         "huge_readout", "readout"),
        ("encoder_detached_front", SEQUENCES, detached_front, "detached", "detached"),
        ("encoder_symmetric", SEQUENCES, symmetric, "symmetric", "symmetric"),
        ("encoder_frozen", SEQUENCES, lambda: frozen(encoder(2, norm_first=True)), "frozen", "no_gradient"),
        ("encoder_dropout", SEQUENCES, lambda: encoder(4, norm_first=False, dropout=0.99), "dropout", "dropout"),
    ],
)  # fmt: skip
