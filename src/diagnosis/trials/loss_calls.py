"""Watch which loss functions of torch are called, with which predictions and targets."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from start_training.lengths.activation_functions import function_name

CLASSES = ("cross_entropy", "nll_loss")
LOGITS = ("binary_cross_entropy_with_logits",)
REAL = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
# Names of autograd nodes that pass values on unchanged.
_PASSING = ("View", "Reshape", "Squeeze", "Unsqueeze", "Select", "Slice", "Transpose", "Permute", "ToCopy", "Alias")


class LossCall(NamedTuple):
    """One call of a loss function.

    Attributes:
        value: What it returned.
        chance: The lowest value for predictions that ignore the inputs, on these targets.
        uninformed: The value for equal probabilities of all classes, or for predictions of 0.
        probabilities: Whether it takes logits, or log-probabilities, and was given probabilities.
        squared: Whether it is a squared error.
    """

    value: float
    chance: float
    uninformed: float
    probabilities: bool
    squared: bool


class LossCalls(TorchFunctionMode):
    """Context manager that records the calls of loss functions with reduction to their mean.

    Example:
        >>> with LossCalls() as calls:
        ...     _ = torch.nn.functional.cross_entropy(torch.zeros(4, 2), torch.tensor([0, 1, 1, 1]))
        >>> round(calls.chance, 3), round(calls.uninformed, 3)
        (0.562, 0.693)
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[LossCall] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        rule = _RULES.get(function_name(function))
        if rule is not None and kwargs.get("reduction", "mean") == "mean" and kwargs.get("weight") is None:
            predictions, targets = [*args, *(kwargs[key] for key in ("input", "target") if key in kwargs)][:2]
            targets = targets.detach()
            chance, uninformed = rule(predictions.detach(), targets, kwargs.get("ignore_index", -100))
            name = function_name(function)
            wrong = _are_probabilities(name, predictions)
            self._calls.append(LossCall(float(output.detach()), chance, uninformed, wrong, name == "mse_loss"))
        return output

    @property
    def chance(self) -> float | None:
        """The lowest loss of predictions that ignore the inputs; None if no loss function was called."""
        return math.fsum(call.chance for call in self._calls) if self._calls else None

    @property
    def uninformed(self) -> float | None:
        """The loss for equal probabilities, or predictions of 0; None if no loss function was called."""
        return math.fsum(call.uninformed for call in self._calls) if self._calls else None

    @property
    def probabilities(self) -> bool:
        """Whether a loss takes logits and was given probabilities."""
        return any(call.probabilities for call in self._calls)

    @property
    def squared(self) -> bool:
        """Whether all of the loss functions are squared errors."""
        return bool(self._calls) and all(call.squared for call in self._calls)

    def share(self, loss: float) -> float:
        """The factor on `chance` and `uninformed` if the loss is less than the sum of the calls, as if weighted."""
        total = math.fsum(call.value for call in self._calls)
        return loss / total if 0 < loss < total else 1.0


def _of_classes(predictions: Tensor, targets: Tensor, ignored: int) -> tuple[float, float]:
    """Entropy of the frequencies of the classes, and the logarithm of their number."""
    classes = predictions.shape[1 if predictions.dim() > 1 else 0]
    if targets.is_floating_point():
        axes = [axis for axis in range(targets.dim()) if axis != min(1, targets.dim() - 1)]
        shares = (targets.double().mean(axes) if axes else targets.double()).clamp(min=0)
    else:
        kept = targets[targets != ignored]
        shares = kept.flatten().bincount(minlength=1).double() / max(kept.numel(), 1)
    return float(torch.special.entr(shares).sum()), math.log(classes)


def _of_logits(predictions: Tensor, targets: Tensor, ignored: int) -> tuple[float, float]:
    """Mean over outputs of the entropy of the frequency of 1, and the logarithm of 2."""
    shares = targets.double().mean(0).clamp(0, 1)
    entropy = torch.special.entr(shares) + torch.special.entr(1 - shares)
    return float(entropy.mean()), math.log(2)


def _squared(predictions: Tensor, targets: Tensor, ignored: int) -> tuple[float, float]:
    """Variance of the targets over samples, and their mean square."""
    targets = targets.double()
    return float(targets.var(0, correction=0).mean()), float(targets.square().mean())


def _absolute(predictions: Tensor, targets: Tensor, ignored: int) -> tuple[float, float]:
    """Mean distance of the targets from their median over samples, and from 0."""
    targets = targets.double()
    return float((targets - targets.median(0).values).abs().mean()), float(targets.abs().mean())


_RULES: dict[str, Callable[[Tensor, Tensor, int], tuple[float, float]]] = {
    **dict.fromkeys(CLASSES, _of_classes),
    **dict.fromkeys(LOGITS, _of_logits),
    "mse_loss": _squared,
    **dict.fromkeys(REAL[1:], _absolute),
}


def _are_probabilities(name: str, predictions: Tensor) -> bool:
    """Return whether predictions are probabilities where logits or their logarithms are asked for."""
    values = predictions.detach().double()
    if name == "nll_loss":
        return bool((values > 0).any())
    if name == "cross_entropy" and values.shape[min(1, values.dim() - 1)] > 1:
        sums = values.sum(min(1, values.dim() - 1))
        tolerance = 1e-5 if predictions.dtype in (torch.float32, torch.float64) else 1e-2
        return bool((values >= 0).all() and ((sums - 1).abs() < tolerance).all())
    if name in LOGITS:
        return last_function(predictions).startswith("Sigmoid")
    return False


def last_function(tensor: Tensor) -> str:
    """Return the name of the autograd node that computed the values of a tensor; empty without one."""
    node = tensor.grad_fn
    while node is not None and any(part in type(node).__name__ for part in _PASSING):
        node = node.next_functions[0][0] if node.next_functions else None
    return type(node).__name__ if node is not None else ""
