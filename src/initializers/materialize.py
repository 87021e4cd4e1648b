"""Give shapes and values to the parameters of lazy modules and of modules on the meta device."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from start_training.settings import described
from start_training.streams import isolate_random_streams


def needs_batch(net: nn.Module) -> bool:
    """Return whether a net has parameters or buffers without shape or values."""
    return any(_has_none(module) for module in net.modules())


@torch.no_grad()
def materialize_(net: nn.Module, batch: Any = None) -> None:
    """Give shapes to lazy parameters by one forward pass, and values to parameters on the meta device, in place.

    Modules on the meta device are moved to the device of the batch and get the values of their `reset_parameters`;
    parameters that were shared stay shared. The forward pass is in evaluation mode. Global random streams are restored.

    Args:
        net: The net.
        batch: A tensor, or a list, tuple or mapping of the arguments of `net.forward`; None: there is none.

    Raises:
        ValueError: there is something to materialize and no batch, or no way to do it.

    Example:
        >>> net = nn.Sequential(nn.LazyLinear(3))
        >>> materialize_(net, torch.zeros(2, 5))
        >>> net[0].weight.shape
        torch.Size([3, 5])
    """
    missing = [name for name, module in net.named_modules() if _has_none(module)]
    if not missing:
        return
    kind, first = type(net).__name__, missing[0]
    layer = f"layer {first or kind} ({type(net.get_submodule(first)).__name__})"
    if batch is None:
        raise ValueError(f"net = {kind}: {layer} has no weights yet; pass a batch of its inputs as batch=…")
    arguments = [batch] if isinstance(batch, Tensor) else [] if isinstance(batch, Mapping) else list(batch)
    named = dict(batch) if isinstance(batch, Mapping) else {}
    modes = [(module, module.training) for module in net.modules()]
    with isolate_random_streams():
        try:
            _materialize_meta_(net, next(_.device for _ in [*arguments, *named.values()] if isinstance(_, Tensor)))
            if needs_batch(net):
                net.eval()(*arguments, **named)
        except Exception as error:  # whatever the user's net raises
            raise ValueError(f"net = {kind}: {layer} cannot be given weights ({described(error)})") from error
        finally:
            for module, mode in modes:
                module.training = mode
    if unused := [name for name, module in net.named_modules() if _has_none(module)]:
        raise ValueError(f"net = {kind}: layer {unused[0]} has no weights, since the forward pass does not use it")


def _materialize_meta_(net: nn.Module, device: torch.device) -> None:
    names = dict[int, list[str]]()
    for name, parameter in net.named_parameters(remove_duplicate=False):
        if parameter.is_meta:
            names.setdefault(id(parameter), []).append(name)
    for name, module in net.named_modules():
        if any(tensor.is_meta for tensor in _own(module)):
            if not callable(reset := getattr(module, "reset_parameters", None)):
                raise ValueError(f"{name or type(net).__name__} ({type(module).__name__}) has no reset_parameters")
            module.to_empty(device=device, recurse=False)
            reset()
    for first, *others in names.values():
        for other in others:
            layer, _, own = other.rpartition(".")
            net.get_submodule(layer)._parameters[own] = net.get_parameter(first)


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _has_none(module: nn.Module) -> bool:
    return any(is_lazy(tensor) or tensor.is_meta for tensor in _own(module))
