"""Nets that run one layer through time."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import changed, filled, frozen, poisoned, scaled
from tests.zoo.tasks import CLASSES, LONG_SERIES, RECALL, SERIES, TOKEN_FEATURES

WIDTH = 32


class Reader(nn.Module):
    """A recurrent module of torch, and a readout of the last state of each direction."""

    def __init__(self, kind: type[nn.RNNBase], **settings: Any) -> None:
        super().__init__()
        self.cell = kind(TOKEN_FEATURES, WIDTH, batch_first=True, **settings)
        self.readout = nn.Linear(WIDTH * (2 if self.cell.bidirectional else 1), CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        states = self.cell(inputs)[0]
        return self.readout(torch.cat([states[:, -1, :WIDTH], states[:, 0, WIDTH:]], -1))


class Stepwise(nn.Module):
    """A tanh cell that is called step by step; `forgetful`: no gradient passes from one step to the step before."""

    def __init__(self, *, forgetful: bool = False) -> None:
        super().__init__()
        self.cell, self.readout, self.forgetful = (
            nn.RNNCell(TOKEN_FEATURES, WIDTH),
            nn.Linear(WIDTH, CLASSES),
            forgetful,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        state = inputs.new_zeros(len(inputs), WIDTH)
        for step in inputs.unbind(1):
            state = self.cell(step, state.detach() if self.forgetful else state)
        return self.readout(state)


def orthogonal(gain: float = 1.0) -> nn.Module:
    """Recurrent weights that keep lengths, and small input weights."""
    net = changed(Reader(nn.RNN), "cell.weight_hh*", lambda weight: nn.init.orthogonal_(weight, gain=gain))
    return filled(scaled(net, "cell.weight_ih*", 0.2), "cell.bias*", 0.0)


def identity(gain: float = 1.0) -> nn.Module:
    """Le, Jaitly & Hinton: ReLU and recurrent weights of the identity."""
    net = changed(
        Reader(nn.RNN, nonlinearity="relu"), "cell.weight_hh*", lambda weight: weight.copy_(gain * torch.eye(WIDTH))
    )
    return filled(scaled(net, "cell.weight_ih*", 0.2), "cell.bias*", 0.0)


def forget_bias(value: float) -> nn.Module:
    """An LSTM whose forget gate has a bias of its own (the second quarter of the gates)."""
    return changed(Reader(nn.LSTM), "cell.bias_hh*", lambda bias: bias[WIDTH : 2 * WIDTH].fill_(value))


NETS = family_of(
    "recurrent",
    [
        ("rnn", SERIES, lambda: Reader(nn.RNN), "", ""),
        ("rnn_stepwise", SERIES, Stepwise, "", ""),
        ("lstm", SERIES, lambda: Reader(nn.LSTM), "", ""),
        ("lstm_two_layers", SERIES, lambda: Reader(nn.LSTM, num_layers=2), "", ""),
        ("lstm_two_ways", SERIES, lambda: Reader(nn.LSTM, bidirectional=True), "", ""),
        ("lstm_forget_bias", LONG_SERIES, lambda: forget_bias(3.0), "", ""),
        ("gru", SERIES, lambda: Reader(nn.GRU), "", ""),
        ("rnn_orthogonal_long", LONG_SERIES, orthogonal, "", ""),
        ("rnn_identity", SERIES, identity, "", ""),
        ("rnn_recall", RECALL, lambda: Reader(nn.RNN), "recurrent_gain", "lost_in_time"),
        ("rnn_small", LONG_SERIES, lambda: scaled(Reader(nn.RNN), "cell.weight_hh*", 0.1),
         "recurrent_gain", "lost_in_time"),
        ("rnn_large", SERIES, lambda: orthogonal(8.0), "recurrent_gain", "explodes_in_time"),
        ("rnn_identity_large", LONG_SERIES, lambda: identity(1.5), "recurrent_gain", "explodes_in_time readout"),
        ("lstm_forgets", RECALL, lambda: forget_bias(-8.0), "recurrent_gain", "lost_in_time"),
        ("gru_large", SERIES, lambda: scaled(Reader(nn.GRU), "cell.weight_hh*", 40.0),
         "recurrent_gain", "explodes_in_time"),
        ("rnn_detached_in_time", SERIES, lambda: Stepwise(forgetful=True), "detached", "lost_in_time"),
        ("rnn_dead_bias", SERIES, lambda: filled(identity(), "cell.bias_ih*", -30.0), "dead_bias", "dead"),
        ("lstm_nan", SERIES, lambda: poisoned(Reader(nn.LSTM), "cell.weight_hh*"), "nan", "not_finite"),
        ("gru_frozen", SERIES, lambda: frozen(Reader(nn.GRU)), "frozen", "no_gradient"),
    ],
)  # fmt: skip
