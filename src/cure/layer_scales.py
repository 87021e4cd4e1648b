"""Scale the layers of a net in the order of execution until each has the wanted variance of outputs on a batch."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from start_training.cure.changing_pass import LayerCall, change_in_pass
from start_training.cure.net_graph import LayerNode, NetGraph, length_gain
from start_training.cure.repairs import draw_
from start_training.diagnosis.evidence.prepare import Prepared
from start_training.theory.activation import Activation

VARIANCES = tuple(2.0**power for power in (0, -1, 1, -2, 2, -3, 3, -4, 4, -6, -8, -10, -12))
BUDGET = 2.0  # nats by which squared gradients may grow over all layers
READOUT = 0.5  # standard deviation of the outputs of a readout
LARGEST = 1e6  # factor of a layer


def steady_variance(activation: Activation | None, layers: int) -> float:
    """Return the variance of pre-activations, near 1, at which wide layers keep gradients: chi is near 1.

    Args:
        activation: The activation; None: none, for which the variance is 1.
        layers: Number of layers, over which squared gradients may grow by `BUDGET` nats.

    Example:
        >>> from start_training.theory.activation import RELU, TANH
        >>> steady_variance(RELU, 40), steady_variance(TANH, 4), steady_variance(TANH, 40)
        (1.0, 1.0, 0.25)
    """
    best, least = 1.0, math.inf
    for variance in VARIANCES:
        growth = length_gain(activation, variance)[1]
        distance = abs(math.log(growth)) if growth > 0 else math.inf
        if distance <= BUDGET / max(layers, 1):
            return variance
        if distance < least:
            best, least = variance, distance
    return best


def sweep_(
    net: nn.Module,
    case: Prepared,
    graph: NetGraph,
    generator: Generator,
    *,
    draw: str = "",
    centered: bool = False,
) -> str:
    """Scale each layer such that its outputs have the variance of `steady_variance`, in the order of execution.

    All calls of a pass see the layers before them as they are after their change, along whatever branches the net has.
    Source: Mishkin & Matas 2016 (arXiv:1511.06422), there with unit variance for all layers; with centred outputs
    Salimans & Kingma 2016 (arXiv:1602.07868), section 3.

    Args:
        net: The net, changed in place.
        case: The batch.
        graph: Its layers.
        generator: Generator of new weights.
        draw: `orthogonal` or `normal` for new weights before they are scaled; empty: the weights it has.
        centered: Whether biases make the mean output of each unit 0 on the batch; otherwise biases are set to 0.
    """
    count = [0]
    nodes = [node for node in graph.nodes if not node.recurrent]

    def action(node: LayerNode) -> Callable[[LayerCall], None]:
        def change(call: LayerCall) -> None:
            count[0] += _change_(node, call, len(nodes), generator, draw, centered=centered)

        return change

    change_in_pass(net, case, {node.module: action(node) for node in nodes})
    drawn = f"drew {draw} weights, and " if draw else ""
    middle = "centred and " if centered else ""
    return f"{drawn}{middle}scaled {count[0]} layers to steady outputs in the order of execution" if count[0] else ""


def _change_(node: LayerNode, call: LayerCall, layers: int, generator: Generator, draw: str, *, centered: bool) -> bool:
    for weight in dict.fromkeys((*node.weights, *node.last)) if draw else ():
        draw_(weight, generator, variance=1.0, orthogonal=draw == "orthogonal")
    for weight in (*node.weights, *node.last):
        if (bias := weight.bias_parameter) is not None and bias.requires_grad:
            bias.zero_()
    if isinstance(node.module, nn.MultiheadAttention):
        _scale_projections_(node, call)
    call.again()
    target = READOUT if node.readout else math.sqrt(steady_variance(node.after, layers))
    scaled = False
    for _ in range(2):  # a parametrization may not take a factor in full
        values = call.values
        if values is None:
            break
        spread = float((values - _unit_means(values, node)).std() if centered else values.square().mean().sqrt())
        if not 0 < spread < math.inf:
            break
        factor = target / spread
        if abs(math.log(factor)) < 1e-3:
            break
        for weight in node.last:
            weight.scale_(min(factor, LARGEST))
        scaled = True
        call.again()
    if centered and not node.readout:
        _center_(node, call)
    return scaled


def _unit_axis(values: Tensor, node: LayerNode) -> int:
    return 1 if isinstance(node.module, nn.modules.conv._ConvNd) and values.dim() > 2 else values.dim() - 1


def _unit_means(values: Tensor, node: LayerNode) -> Tensor:
    axis = _unit_axis(values, node)
    return values.mean([other for other in range(values.dim()) if other != axis], keepdim=True)


def _center_(node: LayerNode, call: LayerCall) -> None:
    bias, values = node.last[0].bias_parameter if node.last else None, call.values
    if bias is None or values is None or not bias.requires_grad:
        return
    means = _unit_means(values, node).flatten()
    if len(means) == len(bias):
        bias.sub_(means.to(bias))
        call.again()


def _scale_projections_(node: LayerNode, call: LayerCall) -> None:
    """Scale queries, keys and values of attention to unit variance, on their own inputs."""
    given = dict(zip(("query", "key", "value"), call.inputs, strict=False)) | call.named
    for weight, name in zip(node.weights, ("query", "key", "value"), strict=False):
        inputs, matrix = given.get(name), weight.matrices()[0]
        if isinstance(inputs, Tensor) and inputs.shape[-1] == matrix.shape[1]:
            size = float(F.linear(inputs, matrix.to(inputs)).double().square().mean().sqrt())
            if 0 < size < math.inf:
                weight.scale_(1 / size)


def scale_ends_(graph: NetGraph, *, zero: bool = False) -> str:
    """Multiply the last weights of each residual branch by 1/√n for n branches (1/√(2L) for L blocks of two), or by 0.

    Source: Radford et al. 2019 (GPT-2), and with 0 Zhang et al. 2019 (arXiv:1901.09321).
    """
    ends = [weight for node in graph.nodes if node.end and not node.readout for weight in node.last]
    factor = 0.0 if zero else graph.branches**-0.5 if graph.branches else 1.0
    if not ends or factor == 1.0:
        return ""
    for weight in ends:
        weight.scale_(factor)
        if zero and (bias := weight.bias_parameter) is not None and bias.requires_grad:
            with torch.no_grad():
                bias.zero_()
    return f"multiplied the last weights of {graph.branches} residual branches by {factor:.3g}"


def critical_(graph: NetGraph, generator: Generator) -> str:
    """Draw normal weights of the variance that theory gives for the activation before each layer.

    fan_in · Var W = q / E[φ(√q z)²] with q of `steady_variance`, by quadrature: 2 for ReLU.
    """
    nodes = [node for node in graph.nodes if not node.recurrent]
    for node in nodes:
        variance = steady_variance(node.before, len(nodes))
        gain = 1.0
        if node.before is not None:
            gain = variance / length_gain(node.before, variance)[0]
        for weight in dict.fromkeys((*node.weights, *node.last)):
            draw_(weight, generator, variance=READOUT**2 if node.readout else gain)
            if (bias := weight.bias_parameter) is not None and bias.requires_grad:
                with torch.no_grad():
                    bias.zero_()
    return f"drew {len(nodes)} layers with the variance that their activations need" if nodes else ""
