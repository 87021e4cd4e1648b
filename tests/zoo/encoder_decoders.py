"""Nets that read one sequence and answer about another."""

from typing import Any

from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import Detached, filled, glorot, poisoned, scaled
from tests.zoo.tasks import CLASSES, TOKEN_FEATURES, TWO_SEQUENCES
from tests.zoo.transformers import WIDTH, saturated, stack


class Translator(nn.Module):
    """An encoder and a decoder with cross-attention, and a readout of each token of the second sequence."""

    def __init__(self, blocks: int, *, norm_first: bool = False, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(TOKEN_FEATURES, WIDTH), nn.Linear(TOKEN_FEATURES, WIDTH)
        settings: dict[str, Any] = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first}
        self.encoder = encoder or stack(blocks, norm_first=norm_first)
        layer = nn.TransformerDecoderLayer(WIDTH, 4, 2 * WIDTH, **settings)
        last = nn.LayerNorm(WIDTH) if norm_first else None
        self.decoder = glorot(nn.TransformerDecoder(layer, blocks, norm=last))
        self.readout = nn.Linear(WIDTH, CLASSES)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.readout(self.decoder(self.target(target), self.encoder(self.source(source))))


class GatedTranslator(nn.Module):
    """A GRU reads the first sequence; its last state is the first of the GRU that reads the second."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(TOKEN_FEATURES, WIDTH, batch_first=True)
        self.decoder = nn.GRU(TOKEN_FEATURES, WIDTH, batch_first=True)
        self.readout = nn.Linear(WIDTH, CLASSES)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.readout(self.decoder(target, self.encoder(source)[1])[0])


def dead_encoder() -> nn.Module:
    """A last ReLU of the encoder is never above 0: the decoder hears nothing of the source."""
    last = nn.Sequential(filled(nn.Linear(WIDTH, WIDTH), "bias", -50.0), nn.ReLU())
    return Translator(3, norm_first=True, encoder=nn.Sequential(stack(3, norm_first=True), last))


def saturated_crossing() -> nn.Module:
    """Only the attention of the decoder to the encoder is saturated."""
    net = Translator(3, norm_first=True)
    for layer in net.decoder.layers:
        saturated(layer.multihead_attn, 30.0)
    return net


NETS = family_of(
    "encoder_decoders",
    [
        ("translator_2", TWO_SEQUENCES, lambda: Translator(2), "", ""),
        ("translator_pre_norm_4", TWO_SEQUENCES, lambda: Translator(4, norm_first=True), "", ""),
        ("translator_gated", TWO_SEQUENCES, GatedTranslator, "", ""),
        ("translator_post_norm_18", TWO_SEQUENCES, lambda: Translator(18), "deep_post_norm", "rank_collapse"),
        ("translator_dead_encoder", TWO_SEQUENCES, dead_encoder, "dead_bias", "dead"),
        (
            "translator_detached_encoder",
            TWO_SEQUENCES,
            lambda: Translator(2, encoder=Detached(stack(2, norm_first=False))),
            "detached",
            "detached",
        ),
        (
            "translator_saturated",
            TWO_SEQUENCES,
            saturated_crossing,
            "saturated_attention",
            "saturated_attention",
        ),
        (
            "translator_huge_readout",
            TWO_SEQUENCES,
            lambda: scaled(Translator(2), "readout.weight", 1000.0),
            "huge_readout",
            "readout",
        ),
        (
            "translator_nan",
            TWO_SEQUENCES,
            lambda: poisoned(Translator(2), "encoder.layers.1.linear1.weight"),
            "nan",
            "not_finite",
        ),
    ],
)
