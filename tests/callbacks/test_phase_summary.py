"""What a run's rows say of a layer, for its next row, for summary.json and in words."""

import math

import numpy as np
import pytest

from start_training.callbacks.phase_summary import running_slope, sentence, summary_of
from start_training.order_chaos.slope import fit_slope, ordered_window

EPOCHS = np.arange(9.0)


def curve(J2=0.3 + 0.05 * EPOCHS, scaling=0.01):
    """Rows of one layer; J² bends a little, so that its slope has an error."""
    of_layer = {"name": "0", "fan_in": 6, "fan_out": 6, "J0": 0.1, "jacobian": 0.2, "lyapunov": -0.4}
    scalings = np.broadcast_to(scaling, len(J2))
    return [
        {**of_layer, "step": 5 * int(t), "epoch": t, "J2": J2_t, "J": math.sqrt(J2_t), "scaling": scaling_t}
        for t, J2_t, scaling_t in zip(EPOCHS, J2, scalings, strict=False)
    ]


def test_slope_window_and_constant_are_those_of_the_fit_that_skips_a_share():
    J2 = 0.3 + 0.05 * EPOCHS + 0.002 * EPOCHS**2
    for skip in (0.0, 0.5):
        slope = fit_slope(EPOCHS, J2, window=ordered_window(EPOCHS, J2, skip=skip))
        assert running_slope(curve(J2), skip=skip) == (slope.A, slope.error)
        said = summary_of(curve(J2), skip=skip, lowest={"step": 15, "epoch": 3, "loss": 0.7})
        expected = {"slope": slope.A, "slope_error": slope.error, "slope_start": slope.start, "slope_end": slope.end}
        expected |= {"slope_bend": slope.bend, "slope_reason": None, "scaling": 0.01, "constant": slope.A / 0.01}
        assert {name: said[name] for name in expected} == expected
        assert (said["J2"], said["layer"], said["edge_at_1"], said["fan_in"]) == (J2[-1], "0", True, 6)
        lowest = [said[f"lowest_test_loss{of}"] for of in ("_epoch", "")] + [said["J_at_lowest_test_loss"]]
        assert lowest == [3, 0.7, math.sqrt(J2[3])]


@pytest.mark.parametrize(
    ("rows", "skip", "reason"),
    [
        (curve()[:3], 0.5, "window = 0 to 2 epochs"),
        (curve(np.full(9, 1.5)), 0.5, "not in the ordered phase"),
        ([{**row, "J2": math.nan} for row in curve()], 0.5, "J² was never finite"),
    ],
)
def test_where_there_is_no_slope_the_reason_is_said(rows, skip, reason):
    said = summary_of(rows, skip=skip, lowest=None)
    assert said["slope"] is said["constant"] is said["slope_start"] is said["lowest_test_loss"] is None
    assert reason in said["slope_reason"] and f"no slope of J² ({said['slope_reason']})" in sentence(said)
    assert np.isnan(running_slope(rows, skip=skip)).all()
    assert "lowest" not in sentence(said)
    other = summary_of(curve(), skip=0.5, lowest=None, edge_at_1=False)
    assert other["slope"] is None and "is not at J = 1" in other["slope_reason"]
    assert "(ordered)" not in sentence(other) and "Lyapunov" in sentence(other)
    left_out = np.where(EPOCHS == 5, np.nan, 0.3 + 0.05 * EPOCHS)
    assert running_slope(curve(left_out), skip=0.0)[0] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (np.where(EPOCHS < 4, 0.02, 0.01), 0.01),  # of the window alone, which begins at epoch 4
        (np.where(EPOCHS < 5, 0.02, 0.01), None),
        (np.where(EPOCHS < 8, 0.01, 0.02), None),
        (math.nan, None),
    ],
)
def test_a_rate_that_changed_within_the_window_is_no_scaling_variable(scaling, expected):
    said = summary_of(curve(scaling=scaling), skip=0.5, lowest=None)
    assert (said["scaling"], said["slope_start"], said["slope_end"]) == (expected, 4, 8)
    assert (said["constant"] is None) == (expected is None)


@pytest.mark.parametrize(
    ("lyapunov", "J", "side"),
    [
        (-0.021, 0.7, "ordered"), (-0.019, 0.7, "at the edge of chaos"), (0.019, 0.7, "at the edge of chaos"),
        (0.021, 0.7, "chaotic"), (None, 0.979, "ordered"), (None, 1.019, "at the edge of chaos"),
        (math.nan, 1.021, "chaotic"), (None, None, "not finite"),
    ],
)  # fmt: skip
def test_the_side_of_the_edge_is_the_lyapunov_exponents_or_else_of_J(lyapunov, J, side):
    lowest = {"step": 15, "epoch": 3, "loss": 0.7}
    said = summary_of(curve(), skip=0.5, lowest=lowest) | {"lyapunov": lyapunov, "J": J, "slope_error": 2e-4}
    known = lyapunov is not None and not math.isnan(lyapunov)
    expected = f", Lyapunov {lyapunov:+.3f}" if known else ""
    assert f" ({side}){expected}; J² grows by 0.05 ± 0.0002 an epoch (epochs 4 to 8); lowest" in sentence(said)
    assert sentence(said).endswith(f"in epoch 3 at J = {math.sqrt(0.45):.3f}")
    assert sentence(said | {"J_at_lowest_test_loss": None}).endswith("lowest test loss 0.7000 in epoch 3")
