"""What figures call the options of the config groups."""

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
    """The option's label; an option that has none is its own."""
    return LABELS.get(str(option), str(option))
