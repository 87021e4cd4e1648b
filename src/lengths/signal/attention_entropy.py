"""Measure the entropy of attention in a forward pass: near 0 if each token attends to one other alone."""

from collections import defaultdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from start_training.lengths.activation_functions import function_name
from start_training.lengths.signal.running_module import RunningModule

_PRODUCTS = frozenset(["matmul", "rmatmul", "bmm", "einsum", "baddbmm", "mm"])
_KEEPING = frozenset(["dropout", "to", "type_as", "float", "half", "bfloat16", "view", "reshape", "contiguous"])


class AttentionEntropy(RunningModule):
    """Context manager that measures the entropy of attention, by module.

    Attention is a softmax whose result is multiplied by other activations, or a call of
    `scaled_dot_product_attention` or `multi_head_attention_forward`. Attention that is computed otherwise, such as that
    over the edges of a sparse graph, is not seen.

    Args:
        net: The net; its modules get hooks, which are removed at the end.

    Attributes:
        entropies: For each module, the mean over queries of the entropy divided by the logarithm of the number of keys
            that are not masked, of each call; between 0 and 1.

    Example:
        >>> net = nn.MultiheadAttention(8, 2, batch_first=True)
        >>> with AttentionEntropy(net) as attention:
        ...     _ = net(torch.zeros(1, 3, 8), torch.zeros(1, 3, 8), torch.zeros(1, 3, 8))
        >>> [round(values[0], 3) for values in attention.entropies.values()]
        [1.0]
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.entropies = defaultdict[str, list[float]](list)
        self._softmaxes = WeakTensorKeyDictionary()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, function_name(function)
        output = function(*args, **kwargs)
        if name == "softmax" and isinstance(output, Tensor) and output.dim() > 1:
            self._softmaxes[output] = output.detach()
        elif name in _KEEPING and args and isinstance(args[0], Tensor) and args[0] in self._softmaxes:
            self._softmaxes[output] = self._softmaxes[args[0]]
        elif name in _PRODUCTS:
            for tensor in (*args, *(args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())):
                if isinstance(tensor, Tensor) and tensor in self._softmaxes:
                    self._add(self._softmaxes.pop(tensor))
        elif name == "scaled_dot_product_attention":
            self._add(_weights(*args[:2], **_mask(args, kwargs)))
        elif name == "multi_head_attention_forward":
            self._add(_packed_weights(args, kwargs))
        return output

    def _add(self, weights: Tensor | None) -> None:
        if weights is None or weights.shape[-1] < 2:
            return
        weights = weights.double()
        keys = (weights > 0).sum(-1)
        allowed = self._allowed(weights, keys)
        if bool(allowed.any()):
            entropy = torch.special.entr(weights).sum(-1)[allowed] / keys.max().clamp(min=2).double().log()
            self.entropies[self.running].append(float(entropy.mean()))

    @staticmethod
    def _allowed(weights: Tensor, keys: Tensor) -> Tensor:
        return weights.isfinite().all(-1) & (keys > 0)


def _mask(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    names = ("attn_mask", "dropout_p", "is_causal", "scale")
    given = dict(zip(names, args[3:], strict=False)) | kwargs
    return {key: given.get(key) for key in ("attn_mask", "is_causal", "scale")}


def _weights(
    query: Tensor,
    key: Tensor,
    *,
    attn_mask: Tensor | None = None,
    is_causal: bool | None = None,
    scale: float | None = None,
) -> Tensor | None:
    """Return softmax(Q Kᵀ · scale + mask)."""
    query, key = query.detach().double(), key.detach().double()
    if query.dim() == key.dim() == 4 and query.shape[1] != key.shape[1]:  # grouped queries
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = scores.masked_fill(~causal, -torch.inf)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1)


def _packed_weights(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """Return the weights of `torch.nn.MultiheadAttention`, without averaging them over heads."""
    names = ("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias")
    given = dict(zip(names, args, strict=False)) | kwargs
    query, key, heads = given["query"].detach(), given["key"].detach(), given["num_heads"]
    if query.dim() == 2:
        query, key = query[:, None], key[:, None]
    width = query.shape[-1]
    if given.get("use_separate_proj_weight"):
        of_query, of_key = given["q_proj_weight"].detach(), given["k_proj_weight"].detach()
    else:
        of_query, of_key, _ = given["in_proj_weight"].detach().chunk(3)
    bias = given["in_proj_bias"]
    of_query_bias, of_key_bias, _ = (None, None, None) if bias is None else bias.detach().chunk(3)
    query, key = F.linear(query, of_query, of_query_bias), F.linear(key, of_key, of_key_bias)
    query, key = (one.unflatten(-1, (heads, width // heads)).permute(1, 2, 0, 3) for one in (query, key))
    mask, padding = given.get("attn_mask"), given.get("key_padding_mask")
    if mask is not None and mask.dim() == 3:
        mask = mask.unflatten(0, (-1, heads))
    weights = _weights(query, key, attn_mask=mask)
    if padding is not None and weights is not None:
        hidden = padding if padding.dtype == torch.bool else padding.isneginf()
        weights = weights.masked_fill(hidden[:, None, None], 0.0)
        weights = weights / weights.sum(-1, keepdim=True)
    return weights
