"""Schedules of the scales eta_l of residual modules act + eta_l · N(act)."""

from collections.abc import Sequence

from start_training.settings import PositiveInteger, PositiveNumber, checked, one_of, positive_number

SCHEDULES = ("constant", "inverse_depth", "geometric", "power")


_SETTINGS = {"eta": "constant", "base": "geometric", "exponent": "power"}  # the schedule that uses each setting


def unused_scales(scales: object) -> dict[str, str]:
    """Return which of eta, base and exponent have no effect with a value of `scales`, with the reason."""
    return {name: f"with scales = {scales}" for name, schedule in _SETTINGS.items() if scales != schedule}


@checked
def residual_scales(
    scales: str | Sequence[float],
    modules: PositiveInteger,
    *,
    eta: PositiveNumber = 1.0,
    base: PositiveNumber = 0.9,
    exponent: PositiveNumber = 1.0,
) -> list[float]:
    """Compute the scales eta_l of residual modules act + eta_l · N(act), for l = 1 … L.

    As L grows, Σ eta_l stays bounded for `inverse_depth`, for `geometric` with base < 1, and for `power` with
    exponent > 1. If Σ eta_l is unbounded, so is the mean length E[M_L] of modules that end in ReLU.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), theorem 6.

    Args:
        scales: `constant` (eta), `inverse_depth` (1/L), `geometric` (base^l), `power` (l^−exponent), or a list of the
            L scales themselves.
        modules: Number of modules L.
        eta: The scale of `constant`.
        base: The base of `geometric`.
        exponent: The exponent of `power`.

    Returns:
        L scales.

    Raises:
        ValueError: an unknown name, a list without exactly L entries, a parameter that is not positive, or a base whose
            powers overflow.

    Example:
        >>> residual_scales("power", 4)
        [1.0, 0.5, 0.3333333333333333, 0.25]
    """
    if not isinstance(scales, str):
        if not isinstance(scales, Sequence) or len(scales) != modules:
            allowed = f"{' or '.join(SCHEDULES)}, or a list of {modules}, one per module"
            raise ValueError(f"scales = {scales!r}: must be {allowed}")
        return [positive_number("scales", scale) for scale in scales]
    if one_of("scales", scales, SCHEDULES) == "constant":
        return [eta] * modules
    if scales == "inverse_depth":
        return [1 / modules] * modules
    layers = range(1, modules + 1)
    if scales == "power":
        return [layer**-exponent for layer in layers]
    try:
        return [base**layer for layer in layers]
    except OverflowError:
        raise ValueError(f"base = {base!r}: must be smaller, since base^{modules} overflows") from None
