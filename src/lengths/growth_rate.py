"""Growth rate of the mean length with depth; a rate far from 0 is failure mode 1."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def growth_rate(mean_lengths: ArrayLike) -> NDArray[np.float64]:
    """Compute the least-squares slope of log mean length against the layer number, over layers 0 … d.

    Its expected value is log(kappa / 2) for a ReLU net, which is 0 for kappa = 2.

    Args:
        mean_lengths: Mean length of layers 0 … d, shape (…, d + 1).

    Returns:
        Shape (…), in nats per layer; −inf if a length is 0, NaN if a length is not finite or d = 0.

    Example:
        >>> round(float(growth_rate([1.0, 0.5, 0.25])), 3)
        -0.693
    """
    lengths = np.asarray(mean_lengths, dtype=np.float64)
    if lengths.shape[-1] < 2:
        return np.full(lengths.shape[:-1], np.nan)
    layers = np.arange(lengths.shape[-1]) - (lengths.shape[-1] - 1) / 2
    logs = np.log(np.where(lengths > 0, lengths, 1.0))
    with np.errstate(invalid="ignore"):
        slope = (logs * layers).sum(-1) / (layers**2).sum()
    slope = np.where((lengths > 0).all(-1), slope, -np.inf)
    return np.where(np.isfinite(lengths).all(-1), slope, np.nan)


def first_nonfinite_layer(mean_lengths: ArrayLike) -> NDArray[np.int64]:
    """Find the first layer whose mean length is inf or NaN.

    Args:
        mean_lengths: Mean length of layers 0 … d, shape (…, d + 1).

    Returns:
        Layer number, shape (…); −1 if all lengths are finite.

    Example:
        >>> int(first_nonfinite_layer([1.0, 2.0, np.inf]))
        2
    """
    broken = ~np.isfinite(np.asarray(mean_lengths, dtype=np.float64))
    return np.where(broken.any(-1), broken.argmax(-1), -1)
