"""Look up theory's predictions for a net and its initializer."""

from typing import Any

from torch import nn

from start_training.initializers.initializer import Initializer
from start_training.initializers.weights import weights_of


def law_of(net: nn.Module, initializer: object) -> Any | None:
    """Return theory's predictions for a net at initialization, such as a `FullyConnectedLaw`.

    Args:
        net: Any module; a net for which theory has predictions has a method `law(initializer)`.
        initializer: Initializer of the net's weights.

    Returns:
        A law of src/theory, or None if the net has no method `law`, theory does not cover its settings, the initializer
        is not an `Initializer` of symmetric weights, which all laws assume, or the net has weights that cannot have the
        law of the initializer: frozen ones, and those that a mask or a parametrization other than weight_norm changes.
    """
    find_law = getattr(net, "law", None)
    if find_law is None or not isinstance(initializer, Initializer) or not initializer.symmetric:
        return None
    drawable = (weight.keeps_values and all(one.requires_grad for one in weight.stored) for weight in weights_of(net))
    if not all(drawable):
        return None
    return find_law(initializer)
