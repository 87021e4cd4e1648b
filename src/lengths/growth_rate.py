"""How fast the mean length grows with depth: failure mode 1 as one number."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def growth_rate(mean_lengths: ArrayLike) -> NDArray[np.float64]:
    """Least-squares slope of log mean length against layer, over layers 0 … d.

    Its expected value is log(kappa / 2) for a ReLU net, and 0 for a net that keeps its lengths.

    Args:
        mean_lengths: Of layers 0 … d, shape (…, d + 1).

    Returns:
        Shape (…), in nats per layer: −inf where a layer is dead (length 0), NaN where a length is not finite or d = 0.

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
    """The first layer whose length is inf or NaN.

    Args:
        mean_lengths: Of layers 0 … d, shape (…, d + 1).

    Returns:
        Shape (…); −1 where all lengths are finite.

    Example:
        >>> int(first_nonfinite_layer([1.0, 2.0, np.inf]))
        2
    """
    broken = ~np.isfinite(np.asarray(mean_lengths, dtype=np.float64))
    return np.where(broken.any(-1), broken.argmax(-1), -1)
