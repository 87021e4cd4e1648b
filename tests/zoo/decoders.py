"""Decoder-only language models, built and initialized as GPT-2 and Llama are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import HalfPrecision, changed, glorot, poisoned, scaled
from tests.zoo.tasks import LANGUAGE, SYMBOLS
from tests.zoo.transformers import Attention, saturated

WIDTH, LENGTH = 32, 16


class GptBlock(nn.Module):
    """GPT-2's block; `order` is pre, post or none (no normalization and no skips)."""

    def __init__(self, order: str = "pre") -> None:
        super().__init__()
        if order != "none":
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention(WIDTH, causal=True)
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.order = order

    def forward(self, inputs: Tensor) -> Tensor:
        if self.order == "pre":
            inputs = inputs + self.attention(self.norm1(inputs))
            return inputs + self.feed_forward(self.norm2(inputs))
        if self.order == "post":
            inputs = self.norm1(inputs + self.attention(inputs))
            return self.norm2(inputs + self.feed_forward(inputs))
        return self.feed_forward(self.attention(inputs))


class RootMeanSquare(nn.Module):
    """Normalization by the root mean square, with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.weight * inputs * (inputs.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


def rotated(tensor: Tensor) -> Tensor:
    """Rotary positions on the last axis of (sample, head, token, feature)."""
    half = tensor.shape[-1] // 2
    frequencies = 10000.0 ** (-torch.arange(half) / half)
    angles = torch.arange(tensor.shape[-2])[:, None] * frequencies
    first, second = tensor[..., :half], tensor[..., half:]
    return torch.cat(
        [first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], dim=-1
    )


class LlamaBlock(nn.Module):
    """Llama's block: RMS norms, rotary grouped-query attention, SwiGLU, no biases."""

    def __init__(self, *, norm: bool = True, heads: int = 4, groups: int = 2) -> None:
        super().__init__()
        self.heads, self.groups, size = heads, groups, WIDTH // heads
        self.norm1, self.norm2 = (RootMeanSquare() if norm else nn.Identity() for _ in range(2))
        self.query, self.out = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.key, self.value = (nn.Linear(WIDTH, groups * size, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * WIDTH, WIDTH, bias=False)

    def attend(self, inputs: Tensor) -> Tensor:
        query, key, value = (
            layer(inputs).unflatten(-1, (-1, WIDTH // self.heads)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        key, value = (tensor.repeat_interleave(self.heads // self.groups, 1) for tensor in (key, value))
        mixed = F.scaled_dot_product_attention(rotated(query), rotated(key), value, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(-2))

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs + self.attend(self.norm1(inputs))
        normed = self.norm2(inputs)
        return inputs + self.down(F.silu(self.gate(normed)) * self.up(normed))


class LanguageModel(nn.Module):
    """Embeddings, blocks, a last norm and logits of the next symbol, which may share the embeddings' weights."""

    def __init__(self, blocks: list[nn.Module], norm: nn.Module, *, positions: bool, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, WIDTH)
        self.positions = nn.Parameter(torch.zeros(LENGTH, WIDTH)) if positions else None
        self.blocks, self.norm = nn.ModuleList(blocks), norm
        self.readout = nn.Linear(WIDTH, SYMBOLS, bias=False)
        if tied:
            self.readout.weight = self.embedding.weight

    def forward(self, symbols: Tensor) -> Tensor:
        stream = self.embedding(symbols)
        if self.positions is not None:
            stream = stream + self.positions
        for block in self.blocks:
            stream = block(stream)
        return self.readout(self.norm(stream))


def normal(net: nn.Module, deviation: float = 0.02) -> nn.Module:
    """Weights of one standard deviation in every matrix, and zero biases: HuggingFace's initialization."""
    for name, parameter in net.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=deviation)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return net


def gpt(blocks: int, *, order: str = "pre", tied: bool = True) -> nn.Module:
    """GPT-2: N(0, 0.02), and the last weights of each branch divided by √(2 · blocks)."""
    net = LanguageModel([GptBlock(order) for _ in range(blocks)], nn.LayerNorm(WIDTH), positions=True, tied=tied)
    normal(net)
    for pattern in ("*out_proj.weight", "*feed_forward.2.weight"):
        scaled(net, pattern, (2 * blocks) ** -0.5)
    return net


def llama(blocks: int, *, norm: bool = True, tied: bool = False) -> nn.Module:
    last = RootMeanSquare() if norm else nn.Identity()
    net = LanguageModel([LlamaBlock(norm=norm) for _ in range(blocks)], last, positions=False, tied=tied)
    return normal(net)


def untouched_embedding() -> nn.Module:
    """Tied embeddings with PyTorch's N(0, 1), ten times as large: logits of order √width · 100."""
    return changed(gpt(4), "embedding.weight", lambda weight: weight.normal_().mul_(10.0))


def large_without_norm() -> nn.Module:
    """Llama's blocks without norms: SwiGLU squares its input, so that lengths soon overflow."""
    return normal(llama(10, norm=False), 0.2)


def without_skips() -> nn.Module:
    """Attention and feed-forward nets in turn, with Xavier's weights, so that lengths do not vanish at once."""
    return glorot(gpt(8, order="none"))


def double_softmax() -> nn.Module:
    return nn.Sequential(llama(2), nn.Softmax(-1))


NETS = family_of(
    "decoders",
    [
        ("gpt_2", LANGUAGE, lambda: gpt(2), "", ""),
        ("gpt_6", LANGUAGE, lambda: gpt(6), "", ""),
        ("gpt_16", LANGUAGE, lambda: gpt(16), "", ""),
        ("gpt_untied_4", LANGUAGE, lambda: gpt(4, tied=False), "", ""),
        ("llama_2", LANGUAGE, lambda: llama(2), "", ""),
        ("llama_8", LANGUAGE, lambda: llama(8), "", ""),
        ("llama_tied_4", LANGUAGE, lambda: llama(4, tied=True), "", ""),
        ("gpt_post_norm_24", LANGUAGE, lambda: normal(gpt(24, order="post"), 0.1), "deep_post_norm", ""),
        ("gpt_saturated", LANGUAGE, lambda: saturated(normal(gpt(6), 0.2), 20.0),
         "saturated_attention", "saturated_attention"),
        ("gpt_without_skips_8", LANGUAGE, without_skips,
         "rank_collapse unnormalized", "rank_collapse"),
        ("gpt_large_embedding", LANGUAGE, untouched_embedding, "huge_readout", "readout"),
        ("llama_without_norm_10", LANGUAGE, large_without_norm, "unnormalized gain", "not_finite"),
        ("llama_nan", LANGUAGE, lambda: poisoned(llama(2), "blocks.1.down.weight"), "nan", "not_finite"),
        ("llama_double_softmax", LANGUAGE, double_softmax, "double_softmax", "double_softmax"),
        ("gpt_overflow", LANGUAGE, lambda: HalfPrecision(scaled(gpt(4), "*feed_forward.2.weight", 1e7)),
         "fp16_overflow", "not_finite"),
    ],
)  # fmt: skip
