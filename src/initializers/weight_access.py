"""Read and write a weight of a module, also if it is computed from other tensors (parametrizations, hooks, masks).

Known are torch's parametrizations and the older hooks of `torch.nn.utils`: weight_norm, spectral_norm and pruning.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


class NoInverse(ValueError):
    """The error that a weight cannot be written, since it is computed in an unknown way."""


POWER_ITERATIONS = 30  # steps with which spectral_norm follows a new weight; it takes 15 when it is applied


def stored_in(module: nn.Module, name: str) -> list[nn.Parameter]:
    """Return the parameters that hold the weight `name` of a module; [] if it is computed in an unknown way."""
    if (plain := module._parameters.get(name)) is not None:
        return [plain]
    if is_parametrized(module, name):
        return list(_parametrization(module, name).parameters())
    if isinstance(_hook(module, name), WeightNorm):
        return [module.get_parameter(f"{name}_g"), module.get_parameter(f"{name}_v")]
    return [] if _hook(module, name) is None else [module.get_parameter(f"{name}_orig")]


def has_weight(module: nn.Module, name: str) -> bool:
    """Return whether a module has a weight tensor of this name, stored or computed."""
    return isinstance(module._parameters.get(name), Tensor) or is_parametrized(module, name) or name in vars(module)


def computed_by(module: nn.Module, name: str) -> str:
    """Return the names of what computes the weight from its parameters; "" for a plain parameter.

    Example:
        >>> computed_by(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)), "weight")
        'SpectralNorm'
    """
    if module._parameters.get(name) is not None:
        return ""
    if is_parametrized(module, name):
        return ", ".join(type(part).__name__.lstrip("_") for part in _parametrization(module, name))
    hook = _hook(module, name)
    return "an unknown hook" if hook is None else type(hook).__name__


def keeps_weights(module: nn.Module, name: str) -> bool:
    """Return whether any weight that is written can be read back: plain parameters, and weight_norm."""
    if is_parametrized(module, name):
        return all(isinstance(part, _WeightNorm) for part in _parametrization(module, name))
    return module._parameters.get(name) is not None or isinstance(_hook(module, name), WeightNorm)


def read(module: nn.Module, name: str) -> Tensor:
    """Return the weight with which the module computes. Unlike an access, this changes no state of spectral_norm."""
    if is_parametrized(module, name):
        with _in_evaluation_mode(_parametrization(module, name)):
            return getattr(module, name)
    hook = _hook(module, name)
    return getattr(module, name) if hook is None else _computed_by_hook(hook, module)


@torch.no_grad()
def write_(module: nn.Module, name: str, values: Tensor) -> None:
    """Set the parameters that hold a weight such that the module computes with `values`, if this is possible.

    Where it is not (spectral_norm and orthogonal parametrizations fix the scale, a mask sets entries to zero, a
    parametrization has no inverse), the tensor from which the weight is computed gets the values.

    Raises:
        NoInverse: there is no such tensor.
    """
    hook = _hook(module, name)
    if (plain := module._parameters.get(name)) is not None:
        plain.copy_(values)
    elif is_parametrized(module, name):
        _write_parametrized_(module, name, values)
    elif hook is None:
        raise NoInverse("computed by an unknown hook")
    else:
        if isinstance(hook, WeightNorm):
            g, v = stored_in(module, name)
            v.copy_(values)
            g.copy_(torch.norm_except_dim(values, 2, hook.dim))
        else:
            module.get_parameter(f"{name}_orig").copy_(values)
        if isinstance(hook, SpectralNorm):
            _begin_iterations_(module.get_buffer(f"{name}_u"), module.get_buffer(f"{name}_v"))
            for _ in range(POWER_ITERATIONS):
                hook.compute_weight(module, do_power_iteration=True)
        setattr(module, name, _computed_by_hook(hook, module))


def _write_parametrized_(module: nn.Module, name: str, values: Tensor) -> None:
    parametrizations = _parametrization(module, name)
    try:
        setattr(module, name, values)
    except Exception as error:  # without an inverse, or one that rejects values that are not of its form
        original = getattr(parametrizations, "original", None)
        if original is None or original.shape != values.shape:
            raise NoInverse(f"computed by {computed_by(module, name)}, which has no inverse") from error
        original.copy_(values)
    norms = [part for part in parametrizations if isinstance(part, _SpectralNorm)]
    was_training = parametrizations.training
    for part in norms:
        _begin_iterations_(*part.buffers())
    for _ in range(POWER_ITERATIONS * bool(norms)):
        parametrizations.train()
        getattr(module, name)  # an access in training mode makes a power iteration
    parametrizations.train(was_training)


def _begin_iterations_(*vectors: Tensor) -> None:
    """Begin the power iterations of spectral_norm anew, so that equal weights give equal norms."""
    for vector in vectors:
        vector.fill_(len(vector) ** -0.5)


def _computed_by_hook(hook: Any, module: nn.Module) -> Tensor:
    if isinstance(hook, SpectralNorm):
        return hook.compute_weight(module, do_power_iteration=False)
    return hook.compute_weight(module) if isinstance(hook, WeightNorm) else hook.apply_mask(module)


def _hook(module: nn.Module, name: str) -> WeightNorm | SpectralNorm | BasePruningMethod | None:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm) and hook.name == name:
            return hook
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return hook
    return None


def _parametrization(module: nn.Module, name: str) -> ParametrizationList:
    assert isinstance(module.parametrizations, nn.ModuleDict)
    parametrization = module.parametrizations[name]
    assert isinstance(parametrization, ParametrizationList)
    return parametrization


@contextmanager
def _in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode
