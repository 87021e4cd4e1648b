"""Weights of mixtures of experts that are stacked in one parameter with three axes."""

from typing import NamedTuple

from torch import Tensor, nn

WIDTH_SETTINGS = ("hidden_size", "d_model", "embed_dim", "model_dim", "dim", "in_features", "input_size")


class ExpertStack(NamedTuple):
    """A parameter of shape (experts, …, …) that holds one matrix per expert.

    Args:
        parameter: The name of the parameter in its module.
        inputs_first: Whether its shape is (experts, units in, units out), instead of (experts, units out, units in).
        bias: The name of its biases, shape (experts, units out); None if it has none.
        assumed: Whether nothing tells which axis is which, so that `inputs_first` is an assumption.
    """

    parameter: str
    inputs_first: bool
    bias: str | None
    assumed: bool


def expert_stacks(module: nn.Module, parent: nn.Module | None) -> list[ExpertStack]:
    """Return the stacks of expert matrices of a module; [] if it is not a stack of experts.

    A stack of experts is a module that is not torch's own and whose own parameters are one or more of shape
    (experts, a, b) with a, b and experts above 1, and apart from these only biases of shape (experts, units). The
    axis of inputs is told, in this order, by the width of the model (the units in of a router, which is a layer with
    `experts` outputs in the module or beside it, or a setting such as `hidden_size`), which is the axis of inputs of
    the first stack; and by gated units, where the first stack has twice as many outputs as the second one has inputs.
    If nothing tells it, the shape is taken for (experts, units in, units out), as in x @ weight.
    """
    own = {name: value for name, value in module.named_parameters(recurse=False) if value.is_floating_point()}
    stacks = {name: value for name, value in own.items() if value.dim() == 3}
    experts = {len(value) for value in own.values() if value.dim()}
    dense = all(min(value.shape) > 1 for value in stacks.values())
    if not stacks or not dense or len(experts) != 1 or any(value.dim() not in (2, 3) for value in own.values()):
        return []
    if type(module).__module__.startswith("torch.nn."):
        return []
    shapes = [(value.shape[1], value.shape[2]) for value in stacks.values()]
    inputs_first = _inputs_first(shapes, _model_width(module, parent, experts.pop()))
    square = all(a == b for a, b in shapes)
    return [
        ExpertStack(name, inputs_first is not False, _bias(name, own, len(stacks)), inputs_first is None and not square)
        for name in stacks
    ]


def _inputs_first(shapes: list[tuple[int, int]], width: int | None) -> bool | None:
    (a, b), last = shapes[0], shapes[-1]
    if width is not None and (a == width) != (b == width):
        return a == width
    if len(shapes) > 1 and (b, a) == (2 * last[0], last[1]):
        return True
    if len(shapes) > 1 and (a, b) == (2 * last[1], last[0]):
        return False
    return None


def _model_width(module: nn.Module, parent: nn.Module | None, experts: int) -> int | None:
    for place in (module, parent):
        for layer in place.modules() if place is not None else ():
            if isinstance(layer, nn.Linear) and layer.out_features == experts:
                return layer.in_features
    settings = (getattr(module, name, None) for name in WIDTH_SETTINGS)
    return next((value for value in settings if isinstance(value, int)), None)


def _bias(name: str, own: dict[str, nn.Parameter], stacks: int) -> str | None:
    for candidate in (f"{name}_bias", *(["bias"] if stacks == 1 else [])):
        if isinstance(bias := own.get(candidate), Tensor) and bias.dim() == 2:
            return candidate
    return None
