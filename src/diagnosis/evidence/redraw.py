"""Draw new weights for a module of unknown initializer, from the distribution of its existing weights."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from start_training.initializers.weights import weights_of

LARGE = 2**20  # entries; in larger tensors whole rows and columns are permuted, which is a hundred times faster
ROWS = 64  # number of rows of a matrix that are tested for orthogonality
TOLERANCE = 1e-4  # largest entry of W Wᵀ / c − I for orthogonal rows; float32 rounding gives 1e-6


class Redraw:
    """Redraws the parameters of a module at random, from the distribution that its existing weights suggest.

    - The entries of each parameter (weights, biases, norms, `in_proj_weight`) are permuted at random. Weights whose
      mean is 0 within four standard errors also get random signs. For independent, identically distributed entries
      (symmetric ones for weights) this is an exact redraw, conditional on the absolute values of the entries. Without
      the signs, all redraws would share the mean of the weights, which shifts log-lengths of narrow nets by several
      nats. In tensors of more than `LARGE` entries, whole rows and columns are permuted and get signs instead; this
      also keeps the singular values.
    - A matrix with orthogonal rows or columns (W Wᵀ or Wᵀ W ∝ I, kernels flattened) is replaced by a Haar-random one
      of the same scale, an exact redraw of orthogonal initialization.

    Weights that were trained or constructed lose their structure: a verdict then holds for unstructured weights of the
    same distribution. Constant parameters (zeros, ones) do not change. All redraws share the second moment of the
    weights, which adds an error that more redraws do not reduce: see `second_moment_variances`.

    Args:
        net: The module whose parameters are tested for orthogonality.
    """

    def __init__(self, net: nn.Module) -> None:
        self._gains = {
            name: gain for name, parameter in _matrices(net) if (gain := orthogonal_gain(parameter)) is not None
        }

    @torch.no_grad()
    def __call__(self, net: nn.Module, generator: Generator) -> None:
        """Redraw every floating-point parameter of `net` in place."""
        for name, parameter in _matrices(net):
            if name in self._gains:
                nn.init.orthogonal_(parameter, self._gains[name], generator=generator)
            else:
                permute_(parameter, generator)


def permute_(parameter: Tensor, generator: Generator) -> None:
    """Permute the entries of a parameter in place, or the rows and columns of a large one.

    Weights (two or more axes) whose mean is 0 within four standard errors also get random signs.
    """
    signed = parameter.dim() > 1 and _has_mean_zero(parameter)
    if parameter.dim() < 2 or parameter.numel() <= LARGE:
        order = torch.randperm(parameter.numel(), generator=generator)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
        if signed:
            parameter.mul_(_signs(parameter.shape, generator))
        return
    for axis, size in enumerate(parameter.shape):
        if size > 1:
            parameter.copy_(parameter.index_select(axis, torch.randperm(size, generator=generator)))
        if size > 1 and signed:
            parameter.mul_(_signs((size,) + (1,) * (parameter.dim() - axis - 1), generator))


def _has_mean_zero(parameter: Tensor) -> bool:
    entries = parameter.double()
    return abs(float(entries.mean())) <= 4 * float(entries.square().mean().sqrt()) / entries.numel() ** 0.5


def _signs(shape: Sequence[int], generator: Generator) -> Tensor:
    return torch.randint(2, tuple(shape), generator=generator, dtype=torch.int8) * 2 - 1


def orthogonal_gain(parameter: Tensor) -> float | None:
    """Return √c if W Wᵀ or Wᵀ W (the smaller of both) equals c I, or None if the weights are not orthogonal."""
    if parameter.dim() < 2 or min(parameter.shape[0], parameter[0].numel()) < 2:
        return None  # a single vector is trivially orthogonal
    matrix = parameter.detach().flatten(1).double()
    matrix = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)[:ROWS]
    gram = matrix @ matrix.T
    square = float(gram.diagonal().mean())
    identity = torch.eye(len(gram), dtype=gram.dtype) * square
    return square**0.5 if square > 0 and bool(((gram - identity).abs() <= TOLERANCE * square).all()) else None


def second_moment_variances(net: nn.Module) -> dict[str, float]:
    """Return for each layer, by name, the relative sampling variance of the mean square of its weights.

    It is (kurtosis − 1) / entries for independent weights, and 0 for orthogonal weights and for zeros. All redraws have
    the same mean square, so more redraws do not reduce this variance of log kappa, and thus of the rate of a layer. For
    10 × 10 normal weights it is 0.02.
    """
    variances = defaultdict[str, list[float]](list)
    for weight in weights_of(net):
        matrices = weight.matrices().detach()
        squares = matrices.double().square()
        second = float(squares.mean())
        independent = second > 0 and orthogonal_gain(matrices[0]) is None
        variance = float(squares.var(correction=0)) / second**2 / squares.numel() if independent else 0.0
        variances[weight.layer].append(variance)
    return {layer: sum(parts) / len(parts) ** 2 for layer, parts in variances.items()}


def _matrices(net: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the floating-point parameters by name; of projections and gates in one parameter, the view of each."""
    parts = defaultdict[int, list[tuple[str, Tensor]]](list)
    for weight in weights_of(net):
        if weight.plain and weight.layout.parts > 1:
            parts[id(weight.stored[0])].append((weight.name, weight.matrices()[0].detach()))
    return [
        part
        for name, parameter in net.named_parameters()
        if parameter.is_floating_point()
        for part in parts.get(id(parameter), [(name, parameter)])
    ]
