"""Copies of states of modules and optimizers as one tensor per dtype, which are made and saved faster than many."""

import copy
from typing import Any

import torch
from torch import Tensor

PLACE = "_packed"  # key of what stands for a tensor: its group; then its shape
Packed = dict[str, Any]


def packed(state: Any) -> Packed:
    """Copy nested dictionaries, lists and tuples of tensors and other values; `unpacked` returns them.

    Example:
        >>> state = {"weight": torch.ones(2, 3), "groups": [{"lr": 0.1, "betas": (0.9, 0.999)}], "bias": torch.zeros(3)}
        >>> {name: tensor.shape for name, tensor in packed(state)["tensors"].items()}
        {'torch.float32 cpu': torch.Size([9])}
        >>> unpacked(packed(state))["groups"], unpacked(packed(state))["weight"].shape
        ([{'lr': 0.1, 'betas': (0.9, 0.999)}], torch.Size([2, 3]))
    """
    tensors: dict[str, list[Tensor]] = {}

    def placed(node: Any) -> Any:
        if type(node) in (Tensor, torch.nn.Parameter) and node.layout == torch.strided:
            group = f"{node.dtype} {node.device}"
            tensors.setdefault(group, []).append(node.detach().reshape(-1))
            return {PLACE: group, "shape": [*node.shape]}
        return _mapped(placed, node)

    tree = placed(state)
    return {"tree": tree, "tensors": {group: torch.cat(parts) for group, parts in tensors.items()}}


def unpacked(state: Packed) -> Any:
    """Return new copies of what was packed; ordered dictionaries are plain ones."""
    ends = dict.fromkeys(state["tensors"], 0)

    def taken(node: Any) -> Any:
        if isinstance(node, dict) and PLACE in node:
            shape, group = torch.Size(node["shape"]), node[PLACE]
            ends[group] += shape.numel()
            return state["tensors"][group][ends[group] - shape.numel() : ends[group]].reshape(shape).clone()
        return _mapped(taken, node)

    return taken(state["tree"])


def _mapped(function: Any, node: Any) -> Any:
    if isinstance(node, dict):
        return {key: function(value) for key, value in node.items()}
    return type(node)(map(function, node)) if type(node) in (list, tuple) else copy.deepcopy(node)
