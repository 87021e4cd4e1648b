"""The kinds of layers that multiply their inputs by weights, and how each holds its matrices."""

import math
import re
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from start_training.initializers.expert_stacks import expert_stacks
from start_training.initializers.weight_access import has_weight
from start_training.initializers.weight_matrix import Layout, Weight

PACKED = re.compile("w?qkv|qkv_proj|c_attn|query_key_value", re.IGNORECASE)  # names of layers with 3 projections
PROJECTIONS = ("query", "key", "value")
GATES = {"LSTM": ("input", "forget", "cell", "output"), "GRU": ("reset", "update", "new")}
SIZES_IN = ("in_features", "in_channels", "nx")  # of modules of others, each with its size of outputs
SIZES_OUT = ("out_features", "out_channels", "nf")


def weights_in(module: nn.Module, layer: str, parent: nn.Module | None) -> Iterator[Weight]:
    """Yield the weights of a single module, without those of its submodules.

    Args:
        module: The module.
        layer: Its name in the net.
        parent: The module around it; None for the net itself.
    """
    if isinstance(module, nn.MultiheadAttention):
        yield from _attention(module, layer)
    elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
        yield from _recurrent(module, layer)
    elif isinstance(module, _ConvNd) and has_weight(module, "weight"):
        transposed = isinstance(module, _ConvTransposeNd)
        stride = math.prod(module.stride) if transposed else 1
        layout = Layout(groups=module.groups, inputs_first=transposed)
        yield Weight(layer or "weight", module, layer, "weight", layout, "bias", stride=stride)
    elif isinstance(module, nn.Bilinear):
        yield Weight(layer or "weight", module, layer, "weight", Layout(flat=True), "bias")
    elif (inputs_first := _dense_with_inputs_first(module)) is not None:
        yield from _dense(module, layer, inputs_first)
    else:
        for stack in expert_stacks(module, parent):
            layout = Layout(stacked=True, inputs_first=stack.inputs_first)
            note = "taken for (experts, units in, units out)" if stack.assumed else ""
            yield Weight(_joined(layer, stack.parameter), module, layer, stack.parameter, layout, stack.bias, note=note)


def _attention(module: nn.MultiheadAttention, layer: str) -> Iterator[Weight]:
    """Three projections, in one parameter or, if keys or values have another width, in three."""
    for part, projection in enumerate(PROJECTIONS):
        packed = Layout(parts=3, part=part)
        separate = f"{projection[0]}_proj_weight"
        if has_weight(module, separate):
            parameter, layout, name = separate, Layout(), separate
        else:
            parameter, layout, name = "in_proj_weight", packed, f"in_proj_weight.{projection}"
        yield Weight(_joined(layer, name), module, layer, parameter, layout, "in_proj_bias", bias_layout=packed)


def _recurrent(module: nn.RNNBase | nn.RNNCellBase, layer: str) -> Iterator[Weight]:
    """One matrix per gate of each input-to-hidden and hidden-to-hidden weight, and projections (weight_hr).

    A unit adds the products with both kinds of matrices; each kind has its own fan-in. Of the two biases, the one with
    index ih takes the law of biases, and the other one is zero.
    """
    mode = module.mode if isinstance(module, nn.RNNBase) else type(module).__name__.removesuffix("Cell")
    names = [name for group in getattr(module, "_all_weights", [["weight_ih", "weight_hh"]]) for name in group]
    for name in (name for name in names if name.startswith("weight")):
        gates = () if name.startswith("weight_hr") else GATES.get(mode, ())
        bias = None if name.startswith("weight_hr") else name.replace("weight", "bias")
        for part, gate in enumerate(gates or [""]):
            layout = Layout(parts=max(len(gates), 1), part=part)
            full = _joined(layer, f"{name}.{gate}".rstrip("."))
            yield Weight(full, module, layer, name, layout, bias, adds_bias=name.startswith("weight_ih"))


def _dense(module: nn.Module, layer: str, inputs_first: bool) -> Iterator[Weight]:
    weight, own = module._parameters.get("weight"), layer.rpartition(".")[2]
    units_out = getattr(module, "out_features", getattr(module, "nf", 0))
    if PACKED.fullmatch(own) and units_out and isinstance(weight, Tensor) and sum(weight.shape) * 3 == units_out * 4:
        for part, projection in enumerate(PROJECTIONS):
            layout = Layout(inputs_first=inputs_first, parts=3, part=part)
            yield Weight(f"{layer}.{projection}", module, layer, "weight", layout, "bias")
    else:
        yield Weight(layer or "weight", module, layer, "weight", Layout(inputs_first=inputs_first), "bias")


def _dense_with_inputs_first(module: nn.Module) -> bool | None:
    """Return whether the weight of a dense layer has its axis of inputs first; None if the module is not dense.

    Besides `nn.Linear`, a dense layer is a module with a 2-d `weight` whose axes are its sizes `SIZES_IN` and
    `SIZES_OUT`; and HuggingFace's Conv1D, which computes x @ weight and is recognized by its name or its sizes nx, nf.
    """
    if not has_weight(module, "weight"):
        return None
    if isinstance(module, nn.Linear):
        return False
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2:
        return None
    if type(module).__name__ == "Conv1D" or (weight.shape[1] == getattr(module, "nf", None)):
        return True
    for size_in, size_out in zip(SIZES_IN, SIZES_OUT, strict=True):
        sizes = getattr(module, size_in, None), getattr(module, size_out, None)
        if tuple(weight.shape) in (sizes, sizes[::-1]):
            return tuple(weight.shape) != sizes[::-1]
    return None


def _joined(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name
