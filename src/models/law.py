"""Look up theory's predictions for a net and its initializer."""

from typing import Any

from torch import nn

from start_training.initializers.initializer import Initializer


def law_of(net: nn.Module, initializer: object) -> Any | None:
    """Return theory's predictions for a net at initialization, such as a `FullyConnectedLaw`.

    Args:
        net: Any module; a net for which theory has predictions has a method `law(initializer)`.
        initializer: Initializer of the net's weights.

    Returns:
        A law of src/theory, or None if the net has no method `law`, theory does not cover its settings, or the
        initializer is not an `Initializer` of symmetric weights, which all laws assume.
    """
    find_law = getattr(net, "law", None)
    if find_law is None or not isinstance(initializer, Initializer) or not initializer.symmetric:
        return None
    return find_law(initializer)
