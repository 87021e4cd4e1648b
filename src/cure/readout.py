"""Scale the readout of a net such that its loss at the start is near that of predictions that know nothing."""

import copy
import math
import sys
from dataclasses import replace

import torch
from torch import nn

from start_training.cure.net_graph import NetGraph
from start_training.diagnosis.evidence.prepare import Prepared
from start_training.streams import isolate_random_streams

FACTORS = (0.5, 0.2, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6)
FAR = 2.0  # times the loss of equal probabilities or outputs of 0, from which a loss is lowered
NEAR = 1.2  # times the loss of equal probabilities or outputs of 0, below which a loss is near it
LOWER = 0.5  # times the loss, below which another one of unknown chance value is clearly lower


def scale_readout_(net: nn.Module, case: Prepared, graph: NetGraph) -> str:
    """Multiply the weights of all readouts by the largest factor below 1 at which the loss is near chance.

    Without a known chance value it is the largest factor at which the loss is clearly lower than it was. A loss that is
    not far above chance stays.
    """
    loss, known = _loss(net, case, graph, 1.0)
    limit = NEAR * known if known else LOWER * loss if math.isfinite(loss) else sys.float_info.max
    if not any(node.readout for node in graph.nodes) or (known and loss <= FAR * known):
        return ""
    best = next((factor for factor in FACTORS if _loss(net, case, graph, factor)[0] <= limit), None)
    if best is None:
        return ""
    for node in graph.nodes:
        for weight in node.last if node.readout else ():
            weight.scale_(best)
    return f"multiplied the weights of {graph.readouts} by {best:g}"


def _loss(net: nn.Module, case: Prepared, graph: NetGraph, factor: float) -> tuple[float, float | None]:
    """Return the loss of a copy whose readouts are multiplied by a factor, and that of equal probabilities."""
    twin = copy.deepcopy(net)
    same = dict(zip(net.modules(), twin.modules(), strict=True))
    for node in graph.nodes:
        for weight in node.last if node.readout and factor != 1 else ():
            replace(weight, module=same[weight.module]).scale_(factor)
    with isolate_random_streams(torch.Generator().manual_seed(0)), torch.no_grad():
        evaluation = case.objective(twin, case.batches[0])
    known = evaluation.uninformed
    return float(evaluation.loss), known if known is not None and known > 0 else None
