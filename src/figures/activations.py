"""Activations of one image in chosen layers of a deep net, with one row of panels for each initialization."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from start_training.figures.labels import label

Array = NDArray[np.float64]
SATURATED = 3.0  # end of the grey scale, in units of the root mean square of the input
SIDE = 4  # largest number of channels along each side of a panel
BEYOND, GAP = "tab:orange", "0.6"  # colours of activations above the grey scale, and of gaps between channels
CAPTION = (
    "Each panel shows the first {channels} channels of a layer; all panels have the same grey scale. "
    r"$M_j=\|\mathrm{{act}}_j\|^2/n_j$ is the length over all channels. All rows use the same random seed."
)


def draw_activations(
    image: ArrayLike,
    activations: Mapping[str, Sequence[ArrayLike]],
    log_lengths: Mapping[str, Sequence[float]],
    layers: Sequence[int],
    *,
    title: str = "",
) -> Figure:
    """Draw the activations of one image in several layers, with one row of panels for each initialization.

    Each panel is a mosaic of the first channels of a layer, labelled with the layer's length. The grey scale is common
    to all panels and shows |activation| from 0 to `SATURATED` times the root mean square of the image: vanishing
    activations turn black, exploding ones orange.

    Args:
        image: The input, shape (channels, height, width).
        activations: For each initialization, the activations of each of `layers`, shape (channels, height, width).
        log_lengths: For each initialization, log M_0 of the input followed by log M_j of each of `layers`, in nats.
        layers: Numbers of the layers.
        title: Title above the panels.
    """
    rows, columns = len(activations), len(layers) + 1
    figure = Figure(figsize=(1.35 * columns + 1.3, 1.65 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    image, colors = np.asarray(image, dtype=np.float64), colormaps["gray"].with_extremes(over=BEYOND, bad=GAP)
    scale = float(np.sqrt(np.mean(image**2))) or 1.0
    for axes_of_row, (option, of_row) in zip(grid, activations.items(), strict=True):
        axes_of_row[0].imshow(_picture(image), cmap="gray", interpolation="nearest")
        axes_of_row[0].set_ylabel(label(option))
        for axes, values in zip(axes_of_row[1:], of_row, strict=True):
            panel = mosaic(np.abs(np.asarray(values, dtype=np.float64)) / scale)
            panel = np.where(np.isposinf(panel), 2 * SATURATED, panel)  # matplotlib draws inf as a missing value
            last = axes.imshow(panel, cmap=colors, norm=Normalize(0, SATURATED), interpolation="nearest")
        for axes, layer, length in zip(axes_of_row, (0, *layers), log_lengths[option], strict=True):
            axes.set_xlabel(f"$M_{{{layer}}}={_power_of_ten(length)}$", fontsize=9)
            axes.set(xticks=[], yticks=[])
    for axes, name in zip(grid[0], ("input", *(f"layer {layer}" for layer in layers)), strict=True):
        axes.set_title(name, fontsize=10)
    bar = figure.colorbar(last, ax=grid, extend="max", shrink=0.7, aspect=30)
    bar.set_label("|activation| / root mean square of the input")
    figure.suptitle(title, fontsize=10)
    channels = max(_side(values) ** 2 for of_row in activations.values() for values in of_row)
    figure.supxlabel(CAPTION.format(channels=channels), fontsize=8, x=0.01, ha="left")
    return figure


def mosaic(activation: Array) -> Array:
    """Arrange the first channels of a layer in a square, row by row, with gaps of NaN between them.

    Args:
        activation: Shape (channels, height, width).

    Returns:
        The largest square of channels that is filled, with at most `SIDE` channels along each side.
    """
    _, height, width = activation.shape
    side, gap = _side(activation), max(1, height // 16)
    panel = np.full((side * (height + gap) - gap, side * (width + gap) - gap), np.nan)
    for place, channel in enumerate(activation[: side**2]):
        top, left = place // side * (height + gap), place % side * (width + gap)
        panel[top : top + height, left : left + width] = channel
    return panel


def mantissa_and_exponent(log_length: float) -> tuple[float, int]:
    """Write e^log_length as m · 10^k with 1 ≤ m < 10, without overflow for large logarithms.

    Args:
        log_length: A finite number.

    Returns:
        m, rounded to two digits, and k.

    Example:
        >>> mantissa_and_exponent(2000.0)
        (3.9, 868)
    """
    exponent = math.floor(log_length / math.log(10))
    mantissa = round(math.exp(log_length - exponent * math.log(10)), 1)
    return (1.0, exponent + 1) if mantissa >= 10 else (mantissa, exponent)


def _power_of_ten(log_length: float) -> str:
    if not math.isfinite(log_length):
        return {-math.inf: "0", math.inf: r"\infty"}.get(log_length, r"\mathrm{NaN}")
    mantissa, exponent = mantissa_and_exponent(log_length)
    return f"{math.exp(log_length):.2g}" if -2 <= exponent <= 1 else rf"{mantissa:.1f}\times 10^{{{exponent}}}"


def _side(activation: ArrayLike) -> int:
    """Return the number of channels along each side of the mosaic of a layer."""
    return min(math.isqrt(len(np.asarray(activation))), SIDE)


def _picture(image: Array) -> Array:
    """Scale an image of shape (channels, height, width) to [0, 1] for display.

    Returns:
        Shape (height, width, 3) for three channels, else the mean over channels, shape (height, width).
    """
    picture = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(0)
    return (picture - picture.min()) / (np.ptp(picture) or 1.0)
