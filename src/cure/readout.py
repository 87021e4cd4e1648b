"""Scale the readout of a net such that its loss at the start is near that of predictions that know nothing."""

import copy
import math

import torch
from torch import nn

from start_training.cure.net_graph import NetGraph
from start_training.diagnosis.evidence.prepare import Prepared
from start_training.streams import isolate_random_streams

FACTORS = (1.0, 0.5, 0.2, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6)
NEAR = 1.2  # times the loss of equal probabilities or outputs of 0, below which a loss is near it
LOWER = 0.5  # times the loss, below which another one of unknown chance value is clearly lower


def scale_readout_(net: nn.Module, case: Prepared, graph: NetGraph) -> str:
    """Multiply the weights of all readouts by the largest factor up to 1 at which the loss is near chance.

    Without a known chance value it is the factor of the lowest loss, if that is clearly lower.
    """
    weights = [weight for node in graph.nodes if node.readout for weight in node.last]
    if not weights or (losses := _losses(net, case, graph))[0][1] <= losses[0][2]:
        return ""
    near = [factor for factor, loss, limit in losses if loss <= limit]
    best = near[0] if near else min(losses, key=lambda one: one[1] if math.isfinite(one[1]) else math.inf)[0]
    if best == 1.0:
        return ""
    for weight in weights:
        weight.scale_(best)
    return f"multiplied the weights of {graph.readouts} by {best:g}"


def _losses(net: nn.Module, case: Prepared, graph: NetGraph) -> list[tuple[float, float, float]]:
    """Return factors, the losses with them, and the largest loss that is near chance."""
    losses, limit = list[tuple[float, float, float]](), math.nan
    for factor in FACTORS:
        twin = copy.deepcopy(net)
        same = dict(zip(net.modules(), twin.modules(), strict=True))
        for node in graph.nodes:
            for weight in node.last if node.readout else ():
                type(weight)(**{**vars(weight), "module": same[weight.module]}).scale_(factor)
        with isolate_random_streams(torch.Generator().manual_seed(0)), torch.no_grad():
            evaluation = case.objective(twin, case.batches[0])
        loss = float(evaluation.loss)
        if factor == 1.0:
            known = evaluation.uninformed
            limit = NEAR * known if known is not None and known > 0 else LOWER * loss
        losses.append((factor, loss if math.isfinite(loss) else math.inf, limit))
        if losses[-1][1] <= limit:
            break
    return losses
