"""Choose which weights of a net an initialization draws, and say of the others why it leaves them."""

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from start_training.initializers.initialization import EMBEDDING, LeftParameter
from start_training.initializers.weight_matrix import Weight
from start_training.initializers.weights import adapters_in, readout_of, weights_of

Patterns = str | Sequence[str] | None
ADDED = ("embed", "token", "pos", "bias")  # parts of names of parameters that are looked up or added
_TABLES = (nn.Embedding, nn.EmbeddingBag)


class Choice(NamedTuple):
    """The weights to draw, in order, and the parameters to leave."""

    drawn: list[Weight]
    left: list[LeftParameter]
    readout: nn.Module | None


def choose(net: nn.Module, only: Patterns = None, skip: Patterns = None) -> Choice:
    """Choose the weights of a net to draw; see `initialize_` for the rules.

    Raises:
        ValueError: a pattern matches no weight.
    """
    weights, readout = weights_of(net), readout_of(net)
    exempt = _Exemptions(net, weights, readout, _patterns("only", only, weights), _patterns("skip", skip, weights))
    drawn, left, known = list[Weight](), list[LeftParameter](), set[int]()
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
        else:
            drawn.append(weight)
            if bias is not None and not bias.requires_grad:
                left.append(LeftParameter(weight.full_bias_name, "frozen", bias.numel(), exempt=True))
    return Choice(drawn, left + list(_others(net, known)), readout)


class _Exemptions:
    def __init__(
        self,
        net: nn.Module,
        weights: Sequence[Weight],
        readout: nn.Module | None,
        only: Collection[str] | None,
        skip: Collection[str] | None,
    ) -> None:
        self._readout, self._only, self._skip, self._seen = readout, only, skip, dict[object, str]()
        self._zero = {weight.name for weight in weights if weight.is_zero()}
        self._zero = set() if len(self._zero) == len(weights) else self._zero  # nothing tells ends from beginnings
        self._adapters = adapters_in(net) if self._zero else {}

    def reason(self, weight: Weight) -> str:
        """Return why a weight is left on purpose; "" if it is to be drawn."""
        stored = weight.stored
        first = self._seen.setdefault((*(id(parameter) for parameter in stored), weight.layout), weight.name)
        if first != weight.name:
            return f"shared with {first}"
        if self._skip is not None and weight.name in self._skip:
            return "in skip"
        if self._only is not None and weight.name not in self._only:
            return "not in only"
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


def _patterns(setting: str, patterns: Patterns, weights: Sequence[Weight]) -> set[str] | None:
    """Return the names of the weights that patterns match; None without patterns."""
    if patterns is None:
        return None
    matched = set[str]()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        of_pattern = {
            weight.name
            for weight in weights
            if any(fnmatchcase(name, pattern) for name in (weight.name, weight.layer, weight.full_name))
        }
        if not of_pattern:
            names = ", ".join(weight.name for weight in weights[:8]) + ", …" * (len(weights) > 8)
            raise ValueError(f"{setting} = {pattern!r}: must match the name of a weight; there are {names}")
        matched |= of_pattern
    return matched


def _others(net: nn.Module, known: set[int]) -> Iterator[LeftParameter]:
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
        yield LeftParameter(name, *_reason(owners[layer], own, parameter))


def _reason(module: nn.Module, own: str, parameter: nn.Parameter) -> tuple[str, int, bool, bool]:
    """Return the reason, the number of entries, whether they are exempt, and whether they multiply."""
    kind, size = type(module).__name__, parameter.numel()
    several = sum(length > 1 for length in parameter.shape) > 1
    if isinstance(module, _TABLES):
        return EMBEDDING, size, False, False
    if "norm" in kind.lower():
        return f"normalization ({kind})", size, False, False
    if not parameter.requires_grad:
        return "frozen", size, True, several
    if not several:
        return f"a vector of {kind}", size, False, False
    added = any(part in own.lower() for part in ADDED)
    return f"a table of {kind}" if added else f"unknown module {kind}", size, False, not added
