"""Random classes that stand in for a loss: a random projection of the outputs has to tell them apart."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from start_training.diagnosis.trials.forward_batch import tensors_in
from start_training.diagnosis.trials.guessed_loss import real_tensors


class RandomTargets:
    """Two classes, of which a random projection of each sample's outputs, a cotangent of them, is the logit.

    The class of a sample is whether a random projection of its inputs is above the median, which can be learned; or it
    is random, if the inputs are integers, or the samples of the outputs are not found among the axes of the inputs.
    Samples are on the first axis, or on the second one, as in recurrent modules with `batch_first=False`. Unlike the
    gradients of squared errors, those of a classification are bounded, so that usual rates suit it.

    Args:
        seed: Seed of projections and numbers.

    Example:
        >>> random, inputs = RandomTargets(0), torch.randn(5, 3, 2)  # 3 samples of 5 time steps
        >>> targets = random.targets(inputs, [torch.ones(3, 7)])
        >>> targets.shape, random.error(torch.ones(3, 7), targets).shape
        (torch.Size([3]), torch.Size([]))
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def targets(self, inputs: Any, outputs: Sequence[Tensor]) -> Tensor:
        """Return the class of each sample, 0 or 1, shape (samples,)."""
        generator = torch.Generator().manual_seed(self._seed)
        given = [tensor for tensor in tensors_in(inputs) if tensor.dim()]
        samples, rows = _samples(given, [output for output in outputs if output.dim()])
        if rows is not None and rows.is_floating_point():
            rows = rows.detach().flatten(1).float()
            targets = rows @ torch.randn(rows.shape[1], generator=generator)
        else:
            targets = torch.randn(samples, generator=generator)
        return (targets > targets.median()).float() if samples > 1 else torch.ones_like(targets)

    def error(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the binary cross-entropy of the projected outputs, shape ()."""
        projections = []
        for output in real_tensors(outputs):
            axis = next((axis for axis, size in enumerate(output.shape[:2]) if size == len(targets)), None)
            rows = output.reshape(1, -1) if axis is None else output.movedim(axis, 0).reshape(len(targets), -1)
            cotangent = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(self._seed))
            projections.append(rows @ cotangent.to(rows) / max(rows.shape[1], 1) ** 0.5)
        fitting = [one for one in projections if len(one) == len(targets)]
        rest = [one for one in projections if len(one) != len(targets)]
        total = torch.stack([one.float() for one in fitting]).sum(0) if fitting else torch.zeros_like(targets)
        for one in rest:  # an output without samples, such as a state, adds the same to all samples
            total = total + one.float()
        return F.binary_cross_entropy_with_logits(total / len(projections) ** 0.5, targets.to(total))


def _samples(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> tuple[int, Tensor | None]:
    """Return the number of samples, and an input with these on its first axis, if there is one."""
    if not outputs:
        return 1, None
    for output in outputs:
        for out_axis in range(min(output.dim(), 2)):
            size = output.shape[out_axis]
            for tensor in inputs:
                for axis in range(min(tensor.dim(), 2 if tensor.dim() > 2 else 1)):
                    if tensor.shape[axis] == size:
                        rows = tensor.movedim(axis, 0)
                        return size, rows if rows.dim() > 1 else rows[:, None]
    return outputs[0].shape[0], None
