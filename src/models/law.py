"""What theory knows of a net at initialization, where net and initializer state their laws."""

from typing import Any

from torch import nn

from start_training.initializers.initializer import Initializer


def law_of(net: nn.Module, initializer: object) -> Any | None:
    """`net.law(initializer)`, such as a law of src/theory; None where the net has no such method, or knows none.

    None also where weights are not symmetric: no law here is of such weights.
    """
    find_law = getattr(net, "law", None)
    if find_law is None or not isinstance(initializer, Initializer) or not initializer.symmetric:
        return None
    return find_law(initializer)
