"""The scales eta_l of a residual net's modules: whether they sum decides failure mode 1."""

from collections.abc import Sequence

from start_training.settings import one_of, positive_integer, positive_number

SCHEDULES = ("constant", "inverse_depth", "geometric", "power")


def residual_scales(
    schedule: str | Sequence[float],
    modules: int,
    *,
    eta: float = 1.0,
    base: float = 0.9,
    exponent: float = 1.0,
) -> list[float]:
    """eta_l for l = 1 … L: `constant` eta, `inverse_depth` 1/L, `geometric` base^l, `power` l^(−exponent).

    A list is taken as it is. Σ eta_l stays bounded as L grows for inverse_depth, for geometric with
    base < 1 and for power with exponent > 1, and only then does E[M_L].
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), theorem 6.
    Raises ValueError for an unknown name, a list whose length is not L, or a parameter that is not positive.
    """
    depth = positive_integer("modules", modules)
    if not isinstance(schedule, str):
        return _checked_list(schedule, depth)
    one_of("scales", schedule, SCHEDULES)
    if schedule == "constant":
        return [positive_number("eta", eta)] * depth
    if schedule == "inverse_depth":
        return [1 / depth] * depth
    if schedule == "geometric":
        return _powers(positive_number("base", base), depth)
    return [layer ** -positive_number("exponent", exponent) for layer in range(1, depth + 1)]


def _powers(base: float, modules: int) -> list[float]:
    try:
        return [base**layer for layer in range(1, modules + 1)]
    except OverflowError:
        raise ValueError(f"base = {base!r}: overflows within {modules} modules") from None


def _checked_list(scales: Sequence[float], modules: int) -> list[float]:
    if not isinstance(scales, Sequence) or len(scales) != modules:
        raise ValueError(
            f"scales = {scales!r}: must be {' or '.join(SCHEDULES)}, or a list of {modules}, one per module"
        )
    return [positive_number("scales", scale) for scale in scales]
