"""Any activation of torch's, or of one's own, as theory takes it."""

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
    """An elementwise function of tensors in float64, with autograd's derivative.

    A class is built without arguments. Of a module a copy is used, as in evaluation.
    Raises ValueError for what is no such function, or has no derivative.
    """

    def __init__(self, function: Callable[..., object], name: str) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # torch's, of what is a fault here in one line
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
        outputs = self._function(inputs.clone())  # which it may overwrite
        if not isinstance(outputs, Tensor) or outputs.shape != inputs.shape:
            raise ValueError(f"of {tuple(inputs.shape)} inputs it makes {tuple(getattr(outputs, 'shape', ()))}")
        return outputs.double()

    def _fault(self) -> str | None:
        self.derivative(_PROBE.numpy())
        with torch.no_grad():
            whole, part = self._call(_PROBE), self._call(_PROBE[::3])
        same = torch.allclose(whole[::3], part, equal_nan=True)
        return None if same else "an output depends on other inputs, or on chance"


def activation_of(setting: str | Callable[..., object] | None) -> Activation:
    """What a setting names: a name of this project, an import path, or a function or module itself.

    Raises ValueError for a name that means nothing, or what `TorchActivation` cannot use.
    """
    if isinstance(setting, str):
        return ACTIVATIONS[setting] if setting in ACTIVATIONS else TorchActivation(_imported(setting), setting)
    if setting is None or not callable(setting):
        raise ValueError(
            f"activation = {setting!r}: must be the net's own, such as tanh or torch.nn.Mish; this model states none"
        )
    return TorchActivation(setting, name_of_activation(setting))


def name_of_activation(setting: object) -> str:
    """For messages."""
    return setting if isinstance(setting, str) else getattr(setting, "__name__", type(setting).__name__)


def _imported(path: str) -> Callable[..., object]:
    if "." not in path:
        allowed = ", ".join(sorted(ACTIVATIONS))
        raise ValueError(f"activation = {path!r}: must be one of {allowed}, or an import path such as torch.nn.Mish")
    try:
        found = pkgutil.resolve_name(path)
    except Exception as error:  # whatever importing a user's module raises
        raise ValueError(f"activation = {path!r}: cannot be imported ({one_line(error)})") from error
    if not callable(found):
        raise ValueError(f"activation = {path!r}: must be a function or a module")
    return found
