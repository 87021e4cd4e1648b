"""Recurrent layers whose gradients pass through time: orthogonal recurrent weights, and gates that remember."""

import math

import torch
from torch import Generator, nn

from start_training.cure.net_graph import NetGraph
from start_training.cure.repairs import draw_
from start_training.initializers.layer_kinds import GATES

REMEMBERING = {"LSTM": "forget", "GRU": "update"}


@torch.no_grad()
def reset_recurrent_(
    net: nn.Module, graph: NetGraph, generator: Generator, *, bias: float = 1.0, inputs: float = 1.0
) -> str:
    """Draw recurrent layers: orthogonal recurrent matrices, and biases of 0, but for the gate that keeps the state.

    Source: Saxe et al. 2013 (arXiv:1312.6120) for orthogonal matrices, Jozefowicz et al. 2015 for the forget bias.

    Args:
        net: The net.
        graph: Its layers.
        generator: Generator of new weights.
        bias: Bias of the gate that keeps the state.
        inputs: fan_in · Var W of the weights of inputs.
    """
    nodes = [node for node in graph.nodes if node.recurrent]
    for node in nodes:
        for weight in node.weights:
            recurrent = "_hh" in weight.parameter
            draw_(weight, generator, variance=1.0 if recurrent else inputs, orthogonal=recurrent)
        for name, values in node.module.named_parameters(recurse=False):
            if "bias" in name and values.requires_grad:
                _fill_biases_(node.module, name, values, bias)
    gates = f", remembering bias {bias:g}" if any(_kind(node.module) in GATES for node in nodes) else ""
    names = [node.name for node in nodes]
    return f"drew {names[0]} with orthogonal recurrent matrices{gates}" if nodes else ""


def _kind(module: nn.Module) -> str:
    return getattr(module, "mode", type(module).__name__.removesuffix("Cell"))


def _fill_biases_(module: nn.Module, name: str, values: nn.Parameter, bias: float) -> None:
    values.zero_()
    kind = _kind(module)
    if kind in GATES and "_ih" in name:
        gates = GATES[kind]
        values.view(len(gates), -1)[gates.index(REMEMBERING[kind])].fill_(bias)


def remembering_bias(steps: int) -> float:
    """Return the bias of a gate that keeps a state over a number of steps: log(steps − 1).

    Source: Tallec & Ollivier 2018 (arXiv:1804.11188).

    Example:
        >>> round(remembering_bias(60), 2)
        4.08
    """
    return math.log(max(steps - 1, 2))
