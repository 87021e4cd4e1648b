"""Adapter from any activation function or module of torch or of the user to theory's interface `Activation`."""

import copy
import pkgutil
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from start_training.settings import described, one_line
from start_training.theory.activation import ACTIVATIONS, Activation, Array

_PROBE = torch.linspace(-3, 3, 300, dtype=torch.float64)


class TorchActivation:
    """An elementwise torch function as an `Activation` of float64 arrays, with its derivative from autograd.

    Args:
        function: A function, a module (of which a copy in evaluation mode is used), or a class of modules that needs no
            arguments.
        name: Name of the function in the error message.

    Raises:
        ValueError: function is not an elementwise function, or has no derivative.

    Example:
        >>> import numpy as np
        >>> TorchActivation(nn.ReLU, "torch.nn.ReLU").derivative(np.array([-1.0, 2.0]))
        array([0., 1.])
    """

    def __init__(self, function: Callable[..., object], name: str) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # torch warns of faults that the error below reports
                built = function() if isinstance(function, type) else function
                self._function = copy.deepcopy(built).double().eval() if isinstance(built, nn.Module) else built
                fault = self._fault()
        except Exception as error:  # whatever a user's function raises
            fault = described(error)
        if fault:
            raise ValueError(f"activation = {name!r}: must be an elementwise function with a derivative ({fault})")

    def value(self, x: Array, /) -> Array:
        with torch.no_grad():
            return self._call(torch.from_numpy(x)).numpy()

    def derivative(self, x: Array, /) -> Array:
        with torch.enable_grad():
            inputs = torch.from_numpy(x).clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self._call(inputs).sum(), inputs)
        return gradient.numpy()

    def _call(self, inputs: Tensor) -> Tensor:
        outputs = self._function(inputs.clone())  # cloned because an in-place function overwrites its input
        if not isinstance(outputs, Tensor) or outputs.shape != inputs.shape:
            shapes = [tuple(getattr(values, "shape", ())) for values in (inputs, outputs)]
            raise ValueError(f"inputs of shape {shapes[0]} give outputs of shape {shapes[1]}")
        return outputs.double()

    def _fault(self) -> str | None:
        self.derivative(_PROBE.numpy())
        with torch.no_grad():
            whole, part = self._call(_PROBE), self._call(_PROBE[::3])
        same = torch.allclose(whole[::3], part, equal_nan=True)
        return None if same else "an output depends on other inputs, or is random"


def activation_of(setting: str | Callable[..., object] | None) -> Activation:
    """Return the activation that a setting names, in the form that theory uses.

    Args:
        setting: A key of `ACTIVATIONS` such as `tanh`, an import path such as `torch.nn.Mish`, or a function or module.

    Raises:
        ValueError: nothing has this name, or it is not an elementwise function with a derivative.

    Example:
        >>> activation_of("leaky_relu")
        Homogeneous(negative_slope=0.01)
    """
    if isinstance(setting, str):
        return ACTIVATIONS[setting] if setting in ACTIVATIONS else TorchActivation(_imported(setting), setting)
    if setting is None or not callable(setting):
        raise ValueError(
            f"activation = {setting!r}: must be a name, a function or a module; "
            "set the activation of the net, such as tanh or torch.nn.Mish"
        )
    return TorchActivation(setting, name_of_activation(setting))


def name_of_activation(setting: object) -> str:
    """Return the name of an activation for messages."""
    return setting if isinstance(setting, str) else getattr(setting, "__name__", type(setting).__name__)


def _imported(path: str) -> Callable[..., object]:
    if "." not in path:
        allowed = ", ".join(sorted(ACTIVATIONS))
        raise ValueError(f"activation = {path!r}: must be one of {allowed}, or an import path such as torch.nn.Mish")
    try:
        function = pkgutil.resolve_name(path)
    except Exception as error:  # whatever importing a user's module raises
        raise ValueError(f"activation = {path!r}: cannot be imported ({one_line(error)})") from error
    if not callable(function):
        raise ValueError(f"activation = {path!r}: must be a function or a module")
    return function
