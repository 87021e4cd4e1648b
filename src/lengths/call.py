"""One call of a module or of an activation function, as `ForwardTrace` records it."""

from torch import nn


class Call:
    """One call of a module, or of an activation function that a module calls.

    Sets of calls and of weights are integers, whose bits are those of `ForwardTrace.calls` and `ForwardTrace.weights`.

    Attributes:
        name: Name of the module; for a function that of the module that calls it and `F.<function>`, joined by a dot.
        bit: The bit of this call.
        module: The module; None for a function.
        parent: The call of a module in which this one happens.
        inputs: What its inputs depend on.
        outputs: What its outputs depend on, with itself.
        residual: Whether an input reaches an output without multiplication by weights.
        functions: Names of the torch functions that the module calls itself.
        transforms: Names of those of them whose arguments depend on weights.
        gate: Whether the output of a function is multiplied by another activation.
        shape: Shape of the first floating-point tensor among its inputs.
        depends_on_batch: Whether its outputs depend on the batch that was given to the trace.
    """

    def __init__(self, name: str, bit: int, module: nn.Module | None, parent: "Call | None", inputs: int) -> None:
        self.name, self.bit, self.module, self.parent = name, bit, module, parent
        self.inputs, self.outputs = inputs, 0
        self.residual = self.gate = self.depends_on_batch = False
        self.functions: set[str] = set()
        self.transforms: set[str] = set()
        self.shape: tuple[int, ...] | None = None
