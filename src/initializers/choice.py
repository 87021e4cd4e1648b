"""Choose which weights of a net an initialization draws, and say of the others why it leaves them."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from start_training.initializers.initialization import EMBEDDING, LeftParameter
from start_training.initializers.weight_matrix import Weight
from start_training.initializers.weights import adapters_in, readout_of, weights_of

Patterns = str | Sequence[str] | None
ADDED = ("embed", "token", "pos", "bias")  # parts of names of parameters that are looked up or added
SHARED = "shared with "  # a reason, followed by the name of the weight that is drawn
_TABLES = (nn.Embedding, nn.EmbeddingBag)


class Choice(NamedTuple):
    """What to draw in a net, and what to leave.

    Attributes:
        drawn: The weights to draw, in order.
        left: The parameters to leave.
        shared: Weights that are drawn for other layers, whose biases are to be drawn.
        readout: The readout.
    """

    drawn: list[Weight]
    left: list[LeftParameter]
    shared: list[Weight]
    readout: nn.Module | None


def choose(net: nn.Module, only: Patterns = None, skip: Patterns = None) -> Choice:
    """Choose the weights of a net to draw; see `initialize_` for the rules.

    Raises:
        ValueError: a pattern matches no weight.
    """
    weights, readout, named = weights_of(net), readout_of(net), _Named(only, skip)
    exempt = _Exemptions(net, weights, readout, named)
    drawn, left, shared, known = list[Weight](), list[LeftParameter](), list[Weight](), set[int]()
    for weight in weights:
        stored = weight.stored
        size = weight.matrices().numel()
        known |= {id(parameter) for parameter in stored}
        known |= {id(bias := weight.bias_parameter)}
        if not stored or not all(parameter.is_floating_point() for parameter in stored):
            reason = f"computed by {weight.computed_by}" if not stored else f"of type {stored[0].dtype}"
            left.append(LeftParameter(weight.name, reason, size, multiplies=True))
        elif reason := exempt.reason(weight):
            left.append(LeftParameter(weight.name, reason, size, exempt=True, multiplies=True))
            shared += [weight] if reason in {f"{SHARED}{first.name}" for first in drawn} else []
        else:
            drawn.append(weight)
            if bias is not None and not bias.requires_grad:
                left.append(LeftParameter(weight.full_bias_name, "frozen", bias.numel(), exempt=True))
    left += _others(net, known, named)
    named.check_all_used([weight.name for weight in weights])
    return Choice(drawn, left, shared, readout)


class _Named:
    """Whether weights and parameters are left because of `only` and `skip`."""

    def __init__(self, only: Patterns, skip: Patterns) -> None:
        given = {"only": only, "skip": skip}
        self._patterns = {key: [value] if isinstance(value, str) else value for key, value in given.items()}
        self._unused = {(key, pattern) for key, patterns in self._patterns.items() for pattern in patterns or ()}

    def reason(self, *names: str) -> str:
        """Return why what has these names is left; "" if neither setting says so."""
        matched = {
            (key, pattern)
            for key, patterns in self._patterns.items()
            for pattern in patterns or ()
            if any(fnmatchcase(name, pattern) for name in names)
        }
        self._unused -= matched
        settings = {key for key, _ in matched}
        if "skip" in settings:
            return "in skip"
        return "" if self._patterns["only"] is None or "only" in settings else "not in only"

    def check_all_used(self, names: Sequence[str]) -> None:
        """Raise ValueError if a pattern matches nothing."""
        for key, pattern in sorted(self._unused):
            shown = ", ".join(names[:8]) + ", …" * (len(names) > 8)
            raise ValueError(f"{key} = {pattern!r}: must match the name of a weight; there are {shown}")


class _Exemptions:
    """Which weights of a net are left on purpose."""

    def __init__(self, net: nn.Module, weights: Sequence[Weight], readout: nn.Module | None, named: _Named) -> None:
        self._readout, self._named, self._seen = readout, named, dict[object, str]()
        self._zero = {weight.name for weight in weights if weight.is_zero()}
        self._zero = set() if len(self._zero) == len(weights) else self._zero  # nothing tells ends from beginnings
        self._adapters = adapters_in(net) if self._zero else {}

    def reason(self, weight: Weight) -> str:
        """Return why a weight is left on purpose; "" if it is to be drawn."""
        stored = weight.stored
        named = self._named.reason(weight.name, weight.layer, weight.full_name)
        first = self._seen.setdefault((*(id(parameter) for parameter in stored), weight.layout.part), weight.name)
        if first != weight.name:
            return f"{SHARED}{first}"
        if named:
            return named
        if not all(parameter.requires_grad for parameter in stored):
            return "frozen"
        if "lora_" in f"{weight.full_name}.".lower():
            return "low-rank adapter"
        base = self._adapters.get(weight.module)
        if base is not None and not all(parameter.requires_grad for parameter in base.stored):
            return f"low-rank adapter of {base.name}, which is frozen"
        if weight.name in self._zero and weight.module is not self._readout:
            return "all zeros, as the end of a branch"
        return ""


def _others(net: nn.Module, known: set[int], named: _Named) -> Iterator[LeftParameter]:
    """Yield the parameters that belong to no weight of a known kind."""
    owners = dict(net.named_modules())
    for name, parameter in net.named_parameters():
        if id(parameter) in known or not parameter.is_floating_point():
            continue
        layer, _, own = name.rpartition(".")
        parts = layer.split(".")
        if "parametrizations" in parts:
            place = parts.index("parametrizations")
            layer, own = ".".join(parts[:place]), parts[place + 1]
        reason, multiplies = _reason(owners[layer], own, parameter)
        chosen = named.reason(name, layer) or ("" if parameter.requires_grad else "frozen")
        yield LeftParameter(name, chosen or reason, parameter.numel(), exempt=bool(chosen), multiplies=multiplies)


def _reason(module: nn.Module, own: str, parameter: nn.Parameter) -> tuple[str, bool]:
    """Return why a parameter of no known kind of layer is left, and whether it seems to multiply inputs."""
    kind = type(module).__name__
    if isinstance(module, _TABLES):
        return EMBEDDING, False
    if "norm" in kind.lower():
        return f"normalization ({kind})", False
    if sum(length > 1 for length in parameter.shape) < 2:
        return f"a vector of {kind}", False
    added = any(part in own.lower() for part in ADDED)
    return f"a table of {kind}" if added else f"unknown module {kind}", not added
