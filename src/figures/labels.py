"""Labels of options and curves in figures, and the format of counts, means and errors."""

import numpy as np
import pandas as pd

from start_training.analysis.columns import check_column, setting_text

LABELS = {
    "he_normal": "He normal",
    "he_uniform": "He uniform",
    "he_truncated_normal": "He normal, truncated",
    "he_normal_x2": "2 × He normal",
    "lecun_normal": "LeCun normal",
    "lecun_uniform": "LeCun uniform",
    "glorot_normal": "Glorot normal",
    "glorot_uniform": "Glorot uniform",
    "orthogonal": "orthogonal, gain √2",
    "torch_default": "PyTorch default",
    "critical": "critical",
    "phase": r"$J_0$, $J$",
    "auto": "mended",
    "relu": "ReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "leaky_relu": "leaky ReLU",
    "constant_15": "constant 15",
    "constant_20": "constant 20",
    "constant_50": "constant 50",
    "constant_100": "constant 100",
    "alternating": "alternating 30, 10",
    "decreasing": "30, then 10",
    "increasing": "10, then 30",
    "one_cycle": "1cycle",
    "inverse": "inverse decay",
    "residual_constant": r"$\eta_l = 1$",
    "residual_inverse_depth": r"$\eta_l = 1/L$",
    "residual_geometric_0.9": r"$\eta_l = 0.9^l$",
    "residual_geometric_0.75": r"$\eta_l = 0.75^l$",
    "residual_geometric_0.5": r"$\eta_l = 0.5^l$",
}


def label(option: object) -> str:
    """Return the label of an option or another value of a setting; a value without a label is returned as text."""
    text = setting_text(option)
    return LABELS.get(text, text)


def setting_of(table: pd.DataFrame, by: str | None) -> str | None:
    """Choose the column whose values distinguish the curves.

    Args:
        table: Result of `sweep_curves`.
        by: Name of the column, or None to choose the setting that varies between the runs.

    Returns:
        `by`, or the setting that varies if there is exactly one; otherwise None.
    """
    keys = {word.partition("=")[0].lstrip("+") for varied in table["varied"].unique() for word in varied.split(" ")}
    [first, *others] = keys or {""}
    return by if by is not None or others or first not in table else first


def option_of(table: pd.DataFrame, by: str | None) -> pd.Series:
    """Return the name, as written in the legend, of the curve that each row belongs to.

    Args:
        table: Result of `sweep_curves`.
        by: Column whose values distinguish the curves; None uses the setting that varies, or all settings that vary if
            there are several (`setting_of`).

    Raises:
        ValueError: the table has no column `by`.
    """
    by = setting_of(table, by)
    if by is None:
        return table["varied"].map(_short)
    check_column("by", by, table)
    return table[by].map(label)


def range_text(values: "pd.Series[int]") -> str:
    """Write the smallest and the largest of several counts, such as 2–3, or a single number if they are equal."""
    low, high = values.min(), values.max()
    return f"{high}" if low == high else f"{low}–{high}"


def seeds_text(runs: "pd.Series[int]") -> str:
    """Return the sentence of a caption that says over how many runs its points are averaged.

    Args:
        runs: The number of runs of each point.
    """
    return "One run each." if runs.max() == 1 else f"Means over {range_text(runs)} seeds ± standard error."


def plus_minus(mean: float, error: float, digits: str = ".3g", of_error: str = ".1g") -> str:
    """Write a number with its error, which is omitted if it is NaN.

    Args:
        mean: The number.
        error: Its error.
        digits: Format of the number.
        of_error: Format of the error.

    Example:
        >>> plus_minus(1.234, 0.056), plus_minus(1.234, float("nan"))
        ('1.23 ± 0.06', '1.23')
    """
    return f"{mean:{digits}}" + ("" if np.isnan(error) else f" ± {error:{of_error}}")


def _short(varied: str) -> str:
    """Shorten overrides for a legend: `optimizer.weight_decay=0.001 depth=5` becomes `weight_decay 0.001, depth 5`."""
    words = (word.partition("=") for word in varied.split(" ") if word)
    return ", ".join(  # an option of a config group, such as initializer=he_normal, is written without its key
        label(value) if "." not in key and not value[:1].isdigit() else f"{key.rpartition('.')[2]} {value}"
        for key, _, value in words
    )
