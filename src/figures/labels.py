"""What figures call options and curves, and how they write counts and errors."""

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
    """The label of an option or another value of a setting; one that has none is its own."""
    text = setting_text(option)
    return LABELS.get(text, text)


def setting_of(table: pd.DataFrame, by: str | None) -> str | None:
    """The column that tells curves apart: `by`, or else the one setting that varies; None where several do, or none."""
    keys = {word.partition("=")[0].lstrip("+") for varied in table["varied"].unique() for word in varied.split(" ")}
    [only, *others] = keys or {""}
    return by if by is not None or others or only not in table else only


def option_of(table: pd.DataFrame, by: str | None) -> pd.Series:
    """The name of the curve that each row belongs to, as the legend has it.

    Args:
        table: Of `sweep_curves`.
        by: The column that tells curves apart; None: `setting_of` chooses it, or else all that varies.

    Raises:
        ValueError: the table has no column `by`.
    """
    by = setting_of(table, by)
    if by is None:
        return table["varied"].map(_short)
    check_column("by", by, table)
    return table[by].map(label)


def range_text(values: "pd.Series[int]") -> str:
    """The smallest and the largest of counts, such as 2–3; only one number where they are equal."""
    low, high = values.min(), values.max()
    return f"{high}" if low == high else f"{low}–{high}"


def seeds_text(runs: "pd.Series[int]") -> str:
    """The sentence of a caption that says how many runs its points are means of, from their number at each point."""
    return "One run each." if runs.max() == 1 else f"Means of {range_text(runs)} seeds ± s.e."


def plus_minus(mean: float, error: float, digits: str = ".3g", of_error: str = ".1g") -> str:
    """A number with its error, which is left out where it is NaN.

    Example:
        >>> plus_minus(1.234, 0.056), plus_minus(1.234, float("nan"))
        ('1.23 ± 0.06', '1.23')
    """
    return f"{mean:{digits}}" + ("" if np.isnan(error) else f" ± {error:{of_error}}")


def _short(varied: str) -> str:
    """`optimizer.weight_decay=0.001 initializer=he_normal depth=5` as `weight_decay 0.001, He normal, depth 5`."""
    words = (word.partition("=") for word in varied.split(" ") if word)
    return ", ".join(  # the options of config groups need no key beside them
        label(value) if "." not in key and not value[:1].isdigit() else f"{key.rpartition('.')[2]} {value}"
        for key, _, value in words
    )
