"""A language model like GPT-2 in plain torch: pre-norm blocks with causal attention, and learned positions."""

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class CausalAttention(nn.Module):
    """Self-attention of several heads in which a token sees no later tokens; shapes (samples, tokens, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, stream: Tensor) -> Tensor:
        samples, tokens, width = stream.shape
        heads = self.queries_keys_values(stream).view(samples, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.projection(attended.transpose(1, 2).reshape(stream.shape))


class GptBlock(nn.Module):
    """Attention and an MLP with GELU, each after a LayerNorm and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, stream: Tensor) -> Tensor:
        stream = stream + self.attention(self.attention_norm(stream))
        return stream + self.mlp(self.mlp_norm(stream))


class Gpt(nn.Module):
    """Net from tokens (samples, tokens) to logits (samples, vocabulary, tokens) of the token after each of them.

    Initialized as GPT-2: normal weights with deviation 0.02, divided by √(2 · blocks) for the last matrix of each
    branch, and no biases. It declares nothing about what is to be measured.
    """

    def __init__(
        self, vocabulary: int, tokens: int, generator: Generator, *, blocks: int, width: int, heads: int = 4
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(GptBlock(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() > 1:
                is_last = name.endswith(("attention.projection.weight", "mlp.2.weight"))
                deviation = 0.02 / (2 * blocks) ** 0.5 if is_last else 0.02
                nn.init.normal_(parameter, std=deviation, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        stream = self.token_embedding(tokens) + self.position_embedding(positions)
        for block in self.blocks:
            stream = block(stream)
        return self.readout(self.norm(stream)).transpose(1, 2)
