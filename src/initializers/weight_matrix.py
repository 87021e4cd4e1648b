"""One weight of a net: where it is stored, its form as matrices, its fans and its biases."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from start_training.initializers.initializer import Fans
from start_training.initializers.weight_access import computed_by, keeps_weights, read, stored_in, write_


@dataclass(frozen=True)
class Layout:
    """How a parameter holds matrices of shape (units out, units in, *kernel).

    Args:
        groups: Number of equal slices of the first axis, each of which is a matrix of its own (grouped convolutions).
        inputs_first: Whether the axis of inputs precedes that of outputs (transposed convolutions, x @ weight).
        parts: Number of equal slices of the axis of outputs (projections of attention, gates).
        part: Which of them, from 0.
        stacked: Whether the first axis numbers the matrices (experts).
        flat: Whether all axes but the first are inputs (bilinear layers).
    """

    groups: int = 1
    inputs_first: bool = False
    parts: int = 1
    part: int = 0
    stacked: bool = False
    flat: bool = False

    def matrices(self, parameter: Tensor, lead: int = 0) -> Tensor:
        """Return a view of a parameter as matrices.

        Args:
            parameter: The parameter, with `lead` axes before its own, such as one for many nets.

        Returns:
            Shape (*leading axes, matrices, units out, units in, *kernel).

        Example:
            >>> Layout(groups=4).matrices(torch.empty(8, 2, 3, 3)).shape  # a convolution of 8 channels in 4 groups
            torch.Size([4, 2, 2, 3, 3])
        """
        if self.flat:
            parameter = parameter.view(*parameter.shape[: lead + 1], -1)
        if not self.stacked:
            parameter = parameter.unflatten(lead, (self.groups, parameter.shape[lead] // self.groups))
        if self.inputs_first:
            parameter = parameter.transpose(lead + 1, lead + 2)
        return self._part_of(parameter, lead + 1)

    def bias(self, parameter: Tensor, lead: int = 0) -> Tensor:
        """Return the view of a layer's biases that belongs to these matrices."""
        return self._part_of(parameter, lead + self.stacked)

    def _part_of(self, tensor: Tensor, axis: int) -> Tensor:
        size = tensor.shape[axis] // self.parts
        return tensor.narrow(axis, self.part * size, size) if self.parts > 1 else tensor


@dataclass(frozen=True)
class Weight:
    """The weight of a layer, or a part of it that is a layer of its own: a projection, a gate.

    Args:
        name: The name in reports: the layer's, if this is its only weight.
        module: The layer.
        layer: The name of the layer in `named_modules`.
        parameter: The name of the weight in the layer.
        layout: How the weight holds matrices.
        bias: The name of the biases in the layer; None without biases.
        adds_bias: Whether a law of biases applies to these. A recurrent layer adds two, of which one is zero.
        bias_layout: How the biases are split over parts of the weight; None: as the weight.
        stride: The product of the strides of a transposed convolution.
        note: What a report says about this weight.
    """

    name: str
    module: nn.Module
    layer: str
    parameter: str
    layout: Layout = Layout()
    bias: str | None = None
    adds_bias: bool = True
    bias_layout: Layout | None = None
    stride: int = 1
    note: str = ""

    @property
    def full_name(self) -> str:
        """The name of the weight as an attribute of the net."""
        return f"{self.layer}.{self.parameter}".lstrip(".")

    @property
    def fans(self) -> Fans:
        """The fans of one matrix; the fan-in of a transposed convolution is divided by its stride.

        Each output position of a transposed convolution is fed by inputs · kernel / stride of its weights on average.
        """
        fans = Fans.of(self.layout.matrices(self.computed())[0])
        exact = fans.fan_in % self.stride == 0
        return fans._replace(fan_in=fans.fan_in // self.stride if exact else fans.fan_in / self.stride)

    @property
    def stored(self) -> list[nn.Parameter]:
        """The parameters that hold the weight; [] if it is computed in an unknown way."""
        return stored_in(self.module, self.parameter)

    @property
    def plain(self) -> bool:
        """Whether the weight is a parameter of the layer, instead of being computed from others."""
        return self.module._parameters.get(self.parameter) is not None

    @property
    def keeps_values(self) -> bool:
        """Whether the layer computes with any values that are written, which a mask or a fixed norm prevents."""
        return keeps_weights(self.module, self.parameter)

    @property
    def computed_by(self) -> str:
        """The names of what computes the weight; "" for a plain parameter."""
        return computed_by(self.module, self.parameter)

    def computed(self) -> Tensor:
        """Return the whole weight with which the layer computes, of which this may be a part."""
        return read(self.module, self.parameter)

    def matrices(self) -> Tensor:
        """Return the weight as matrices, shape (matrices, units out, units in, *kernel)."""
        return self.layout.matrices(self.computed())

    def write_(self, values: Tensor) -> None:
        """Set the whole weight of the layer, through what computes it; see `weight_access.write_`."""
        write_(self.module, self.parameter, values)

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Multiply these matrices by a factor."""
        if self.plain:
            self.matrices().mul_(factor)
        else:
            values = self.computed().clone()
            self.layout.matrices(values).mul_(factor)
            self.write_(values)

    @property
    def bias_parameter(self) -> nn.Parameter | None:
        """The whole parameter of the layer's biases; None if it has none, or computes them."""
        return None if self.bias is None else self.module._parameters.get(self.bias)

    @property
    def full_bias_name(self) -> str:
        """The name of the layer's biases as an attribute of the net."""
        return f"{self.layer}.{self.bias}".lstrip(".")

    def biases(self, parameter: Tensor, lead: int = 0) -> Tensor:
        """Return the view of the layer's biases that belongs to these matrices.

        Args:
            parameter: All biases, with `lead` axes before their own.
        """
        return (self.bias_layout or self.layout).bias(parameter, lead)

    def is_zero(self) -> bool:
        """Return whether all entries are zero; False for a weight without values."""
        values = self.computed()
        return not (is_lazy(values) or values.is_meta or bool(self.layout.matrices(values).any()))
