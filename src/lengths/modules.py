"""The modules of a net by name, and what they contain."""

from torch import nn


def modules_by_name(net: nn.Module) -> dict[str, nn.Module]:
    """Return all modules of a net by name, without the prefix that `torch.compile` adds to names.

    The net itself is called "", or by its class if it contains no other modules.

    Example:
        >>> list(modules_by_name(nn.Sequential(nn.ReLU()))), list(modules_by_name(nn.LSTM(2, 3)))
        (['', '0'], ['LSTM'])
    """
    modules = {name.replace("_orig_mod.", "").removesuffix("_orig_mod"): module for name, module in net.named_modules()}
    return modules if inner_modules(net) else {type(net).__name__: net}


def has_weights(module: nn.Module) -> bool:
    """Return whether a module has weights that multiply, which have two or more axes, outside the modules in it.

    Weights with a parametrization, such as `weight_norm`, count as weights of the module.
    """
    parametrized = module._modules.get("parametrizations")
    own = [*module.parameters(recurse=False), *(parametrized.parameters() if parametrized is not None else ())]
    return any(parameter.dim() > 1 for parameter in own)


def inner_modules(module: nn.Module) -> list[nn.Module]:
    """Return the modules directly in a module, except for parametrizations and those that it does not call."""
    if isinstance(module, nn.MultiheadAttention):  # uses the weights of its inner module without calling it
        return []
    return [child for name, child in module.named_children() if name != "parametrizations"]
