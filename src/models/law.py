"""What theory predicts for a net at initialization, if net and initializer state their laws."""

from typing import Any

from torch import nn

from start_training.initializers.initializer import Initializer


def law_of(net: nn.Module, initializer: object) -> Any | None:
    """`net.law(initializer)`, such as a `FullyConnectedLaw`.

    Args:
        net: Any module.
        initializer: What its weights are drawn with.

    Returns:
        A law of src/theory, or None where the net has no method `law`, its law is not known, or the initializer is not
        an `Initializer` of symmetric weights, which all laws of src/theory assume.
    """
    find_law = getattr(net, "law", None)
    if find_law is None or not isinstance(initializer, Initializer) or not initializer.symmetric:
        return None
    return find_law(initializer)
