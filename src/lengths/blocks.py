"""Find the repeated blocks of a net, such as the blocks of a transformer, whose outputs are its residual stream."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from start_training.lengths.activation_functions import (
    ACTIVATION_FUNCTIONS,
    ACTIVATION_MODULES,
    NONLINEAR,
    RECURRENT_MODULES,
)
from start_training.lengths.call import Call
from start_training.lengths.modules import has_weights, inner_modules, modules_by_name


@dataclass(frozen=True)
class _Chain:
    """Modules of the same class, at least one of which feeds another.

    Attributes:
        names: Names of the modules.
        residual: Whether an input of one of them reaches its output without multiplication by weights.
        listed: Whether there are several, in a `nn.Sequential`, `nn.ModuleList` or `nn.ModuleDict`.
    """

    names: frozenset[str]
    residual: bool
    listed: bool

    def contains(self, other: "_Chain") -> bool:
        """Return whether a module of the other chain is inside one of this chain."""
        return any(is_inside(name, self.names) for name in other.names)


def repeated_blocks(net: nn.Module, calls: Sequence[Call] = ()) -> list[str]:
    """Return the names of the repeated blocks of a net.

    These are modules of equal class with a nonlinear function and weights inside, in the same place of the net (the
    same module, or the same `nn.Sequential`, `nn.ModuleList` or `nn.ModuleDict` at any depth), whose output reaches
    the input of another one. Modules that run side by side, such as experts, are none. A `nn.Sequential` is never a
    block itself. A module that feeds itself, as in ALBERT, is a block with several calls. If blocks contain blocks,
    those with residual connections are preferred, then the inner ones, if a container lists them; but not inner ones
    without residual connections that run side by side, as in an Inception module.

    Args:
        net: The net.
        calls: The calls in a forward pass. A module that was not called counts as a block if a `nn.Sequential` or
            `nn.ModuleList` contains another one of its class.

    Example:
        >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> repeated_blocks(nn.Sequential(nn.Linear(4, 8), nn.TransformerEncoder(layer, 2), nn.ReLU()))
        ['1.layers.0', '1.layers.1']
    """
    by_name: dict[str, list[Call]] = {}
    for call in calls:
        if call.module is not None:
            by_name.setdefault(call.name, []).append(call)
    groups: dict[tuple[str, type], list[str]] = {}
    modules = modules_by_name(net)
    for name, module in modules.items():
        if name and _may_be_block(module, by_name.get(name, ()), calls):
            groups.setdefault((_place(net, name), type(module)), []).append(name)
    chains = [chain for group in groups.values() if (chain := _chain(group, by_name, net))]
    chosen = _choose(chains, by_name)
    classes = {(type(_module(net, name))) for chain in chosen for name in chain.names}
    names = {name for chain in chosen for name in chain.names}
    # A stage of a net may have only one block of a class that other stages repeat.
    alone = [group[0] for (_, kind), group in groups.items() if len(group) == 1 and kind in classes]
    names |= {name for name in alone if not is_inside(name, names) and not _contains(name, names)}
    order = [*by_name, *modules]
    return sorted(names, key=order.index)


def is_inside(name: str, names: frozenset[str] | set[str]) -> bool:
    """Return whether a module is inside one of several modules, and is none of them.

    Example:
        >>> is_inside("layers.1.act", {"layers.1"}), is_inside("layers.10", {"layers.1"})
        (True, False)
    """
    parts = name.split(".")
    return any(".".join(parts[:length]) in names for length in range(1, len(parts)))


def _contains(name: str, names: set[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in names)


def _module(net: nn.Module, name: str) -> nn.Module:
    for part in name.split("."):
        net = getattr(getattr(net, "_orig_mod", net), part)
    return net


def _is_container(module: nn.Module) -> bool:
    return getattr(type(module), "forward", None) in (nn.Module.forward, nn.Sequential.forward)


def _place(net: nn.Module, name: str) -> str:
    """Return the name of the innermost module around a module that is not only a container."""
    parts = name.split(".")[:-1]
    while parts and _is_container(_module(net, ".".join(parts))):
        parts = parts[:-1]
    return ".".join(parts)


def _may_be_block(module: nn.Module, own_calls: Sequence[Call], calls: Sequence[Call]) -> bool:
    if _is_container(module) or isinstance(module, (*ACTIVATION_MODULES, *RECURRENT_MODULES, nn.MultiheadAttention)):
        return False
    if not any(has_weights(inner) for inner in module.modules()):
        return False
    if not own_calls:
        return (bool(inner_modules(module)) and not calls) or any(_is_activation(m) for m in module.modules())
    if not inner_modules(module):
        return any(call.functions & ACTIVATION_FUNCTIONS for call in own_calls)
    return any(
        call.functions & NONLINEAR and any(_happens_in(call, own) for own in own_calls)
        for call in calls
        if call.module is not None
    )


def _is_activation(module: nn.Module) -> bool:
    return isinstance(module, (*ACTIVATION_MODULES, *RECURRENT_MODULES, nn.MultiheadAttention))


def _happens_in(call: Call | None, outer: Call) -> bool:
    while call is not None and call is not outer:
        call = call.parent
    return call is outer


def _chain(group: list[str], calls: dict[str, list[Call]], net: nn.Module) -> _Chain | None:
    """Return those modules of a group that feed another one, or themselves, or are fed by one."""
    ran = [call for name in group for call in calls.get(name, ())]
    linked = {name for one in ran for other in ran if one.inputs & other.bit for name in (one.name, other.name)}
    parents = [_module(net, name.rpartition(".")[0]) for name in group if "." in name]
    listed = len(group) > 1 and any(isinstance(one, nn.Sequential | nn.ModuleList | nn.ModuleDict) for one in parents)
    if not ran and listed:
        linked = set(group)
    if not linked:
        return None
    return _Chain(frozenset(linked), any(call.residual for call in ran if call.name in linked), listed)


def _choose(chains: list[_Chain], calls: dict[str, list[Call]]) -> list[_Chain]:
    """Choose among chains that contain each other."""
    chains = [one for one in chains if one.listed or not any(other.contains(one) for other in chains)]
    residual = [chain for chain in chains if chain.residual]
    chosen = [chain for chain in residual if not any(chain.contains(other) for other in residual)]
    rest = [
        chain
        for chain in chains
        if not chain.residual and not any(one.contains(chain) or chain.contains(one) for one in residual)
    ]
    for chain in rest:
        inner = [other for other in rest if chain.contains(other)]
        outer = [other for other in rest if other.contains(chain)]
        if any(_side_by_side(one, [chain, *(o for o in rest if one.contains(o))], calls) for one in outer):
            continue
        if not inner or _side_by_side(chain, inner, calls):
            chosen.append(chain)
    return chosen


def _side_by_side(outer: _Chain, inner: list[_Chain], calls: dict[str, list[Call]]) -> bool:
    """Return whether modules of inner chains run side by side in a call of a module of the outer chain."""
    of_inner = [call for chain in inner for name in chain.names for call in calls.get(name, ())]
    for name in outer.names:
        for around in calls.get(name, ()):
            within = [call for call in of_inner if call is not around and _happens_in(call, around)]
            if any(
                not (one.inputs & other.bit or other.inputs & one.bit)
                for one in within
                for other in within
                if one is not other and not _happens_in(one, other) and not _happens_in(other, one)
            ):
                return True
    return False
