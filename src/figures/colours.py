"""Colours that colour-blind eyes tell apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps

# Petroff 2021 (arXiv:2107.02270), ten colours.
CYCLE = ("#3f90da", "#bd1f01", "#ffa90e", "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
FEW = 4  # numbers; more of them are shades, in their order


def colours(options: Sequence[str]) -> dict[str, Any]:
    """A colour for each option: shades in order for more than a few numbers or ten names, else those of the cycle."""
    numbers = {option: number for option in options if (number := _number(option)) is not None}
    ordered = len(numbers) == len(options)
    if len(options) <= (FEW if ordered else len(CYCLE)):
        return dict(zip(options, CYCLE, strict=False))
    order = sorted(options, key=lambda option: numbers[option]) if ordered else list(options)
    shades = dict(zip(order, colormaps["viridis"](np.linspace(0, 0.9, len(order))), strict=True))
    return {option: shades[option] for option in options}


def _number(option: str) -> float | None:
    try:
        return float(option)
    except ValueError:
        return None
