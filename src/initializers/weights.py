"""The weight matrices of any net. Whatever draws, scales or measures weights finds them here."""

from torch import nn

from start_training.initializers.layer_kinds import weights_in
from start_training.initializers.weight_matrix import Weight


def weights_of(net: nn.Module) -> list[Weight]:
    """List the weights of all layers of a net that multiply their inputs, in the order of `named_modules`.

    These are dense layers (also modules of others with a 2-d `weight` and sizes such as in_features and out_features;
    HuggingFace's Conv1D), convolutions and transposed ones, bilinear layers, attention (three matrices, also of a
    dense layer `qkv` with three times as many outputs as inputs), recurrent layers and cells (one matrix per gate),
    and stacks of experts (see `expert_stacks`). A weight that several layers share is listed for each of them.

    Example:
        >>> [weight.name for weight in weights_of(nn.Sequential(nn.Linear(3, 4), nn.GRUCell(4, 2)))][:3]
        ['0', '1.weight_ih.reset', '1.weight_ih.update']
    """
    modules = dict(net.named_modules())
    return [
        weight
        for name, module in modules.items()
        for weight in weights_in(module, name, modules[name.rpartition(".")[0]] if name else None)
    ]


def readout_of(net: nn.Module) -> nn.Module | None:
    """Return the layer that computes the logits.

    It is the last dense, convolutional or bilinear layer in `net.readout`, or in the net if it has no module `readout`.
    None if there is no such layer. The two matrices of a low-rank adapter are no readout.
    """
    readout = getattr(net, "readout", None)
    place = readout if isinstance(readout, nn.Module) else net
    weights = [weight for weight in weights_of(place) if weight.parameter == "weight"]
    if weights and weights[-1].is_zero():
        adapters = adapters_in(place)
        weights = [weight for weight in weights if weight.module not in adapters]
    return weights[-1].module if weights else None


def adapters_in(net: nn.Module) -> dict[nn.Module, Weight]:
    """Map both layers of each low-rank adapter, such as LoRA's A and B, to the weight beside which it stands.

    B, of shape (units out, rank), is zero. A, of shape (rank, units in), and a weight between the same units are within
    at most three modules around B that are not an `nn.Sequential`, and the rank is below both numbers of units.
    """
    weights, adapters = weights_of(net), dict[nn.Module, Weight]()
    for end in weights:
        if len(_sizes(end)) < 2 or not end.is_zero():
            continue
        parts = end.layer.split(".")
        for depth in range(1, min(len(parts), 3) + 1):
            around = parts[:-depth]
            if isinstance(net.get_submodule(".".join(around)), nn.Sequential):
                continue
            inside = [other for other in weights if other.layer.split(".")[: len(around)] == around]
            beside = [other for other in inside if other is not end]
            if (pair := _pair(end, beside)) and (around or len(beside) == 2):
                adapters |= {end.module: pair[1], pair[0].module: pair[1]}
                break
    return adapters


def _pair(end: Weight, beside: list[Weight]) -> tuple[Weight, Weight] | None:
    """Return A and the weight beside the adapter whose B is `end`; None if there are no such weights."""
    units_out, rank = _sizes(end)
    of_shape = {_sizes(other): other for other in reversed(beside)}
    pairs = [
        (first, of_shape[units_out, sizes[1]])
        for sizes, first in of_shape.items()
        if len(sizes) == 2 and sizes[0] == rank < min(units_out, sizes[1]) and (units_out, sizes[1]) in of_shape
    ]
    return pairs[0] if pairs else None


def _sizes(weight: Weight) -> tuple[int, ...]:
    """Return (units out, units in) of a weight that is a single matrix; () for others."""
    shape = weight.matrices().shape
    return tuple(shape[1:3]) if shape[0] == 1 else ()
