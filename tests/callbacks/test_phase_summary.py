"""The running slope, the summary and the sentence of the phase of a layer."""

import math

import numpy as np
import pytest

from start_training.callbacks.phase_summary import running_slope, sentence, summary_of
from start_training.order_chaos.slope import fit_slope, ordered_window

EPOCHS = np.arange(9.0)


def curve(J2=0.3 + 0.05 * EPOCHS, scaling=0.01):
    """Rows of one layer; J² bends a little, so that its slope has an error."""
    layer = {"name": "0", "fan_in": 6, "fan_out": 6, "J0": 0.1, "jacobian": 0.2, "lyapunov": -0.4}
    scalings = np.broadcast_to(scaling, len(J2))
    return [
        {**layer, "step": 5 * int(t), "epoch": t, "J2": J2_t, "J": math.sqrt(J2_t), "scaling": scaling_t}
        for t, J2_t, scaling_t in zip(EPOCHS, J2, scalings, strict=False)
    ]


def test_the_summary_has_the_slope_and_window_of_the_fit_that_skips_a_share():
    J2 = 0.3 + 0.05 * EPOCHS + 0.002 * EPOCHS**2
    for skip in (0.0, 0.5):
        slope = fit_slope(EPOCHS, J2, window=ordered_window(EPOCHS, J2, skip=skip))
        assert running_slope(curve(J2), skip=skip) == (slope.A, slope.error)
        summary = summary_of(curve(J2), skip=skip, lowest={"step": 15, "epoch": 3, "loss": 0.7})
        expected = {"slope": slope.A, "slope_error": slope.error, "slope_start": slope.start, "slope_end": slope.end}
        expected |= {"slope_bend": slope.bend, "slope_reason": None, "scaling": 0.01, "constant": slope.A / 0.01}
        assert {name: summary[name] for name in expected} == expected
        assert (summary["J2"], summary["layer"], summary["edge_at_1"], summary["fan_in"]) == (J2[-1], "0", True, 6)
        lowest = [summary[f"lowest_test_loss{suffix}"] for suffix in ("_epoch", "")] + [
            summary["J_at_lowest_test_loss"]
        ]
        assert lowest == [3, 0.7, math.sqrt(J2[3])]


@pytest.mark.parametrize(
    ("rows", "skip", "reason"),
    [
        (curve()[:3], 0.5, "window = 0 to 2 epochs"),
        (curve(np.full(9, 1.5)), 0.5, "must be below 1, in the ordered phase"),
        ([{**row, "J2": math.nan} for row in curve()], 0.5, "J² was never finite"),
    ],
)
def test_the_summary_has_the_reason_why_there_is_no_slope(rows, skip, reason):
    summary = summary_of(rows, skip=skip, lowest=None)
    assert summary["slope"] is summary["constant"] is summary["slope_start"] is summary["lowest_test_loss"] is None
    assert reason in summary["slope_reason"] and f"no slope of J² ({summary['slope_reason']})" in sentence(summary)
    assert np.isnan(running_slope(rows, skip=skip)).all()
    assert "lowest" not in sentence(summary)
    other = summary_of(curve(), skip=0.5, lowest=None, edge_at_1=False)
    assert other["slope"] is None and "is not at J = 1" in other["slope_reason"]
    assert "(ordered)" not in sentence(other) and "Lyapunov" in sentence(other)
    with_gap = np.where(EPOCHS == 5, np.nan, 0.3 + 0.05 * EPOCHS)
    assert running_slope(curve(with_gap), skip=0.0)[0] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (np.where(EPOCHS < 4, 0.02, 0.01), 0.01),  # the value within the window, which begins at epoch 4
        (np.where(EPOCHS < 5, 0.02, 0.01), None),
        (np.where(EPOCHS < 8, 0.01, 0.02), None),
        (math.nan, None),
    ],
)
def test_the_scaling_variable_is_none_if_it_changed_within_the_window(scaling, expected):
    summary = summary_of(curve(scaling=scaling), skip=0.5, lowest=None)
    assert (summary["scaling"], summary["slope_start"], summary["slope_end"]) == (expected, 4, 8)
    assert (summary["constant"] is None) == (expected is None)


@pytest.mark.parametrize(
    ("lyapunov", "J", "side"),
    [
        (-0.021, 0.7, "ordered"), (-0.019, 0.7, "at the edge of chaos"), (0.019, 0.7, "at the edge of chaos"),
        (0.021, 0.7, "chaotic"), (None, 0.979, "ordered"), (None, 1.019, "at the edge of chaos"),
        (math.nan, 1.021, "chaotic"), (None, None, "not finite"),
    ],
)  # fmt: skip
def test_the_side_of_the_edge_is_decided_by_the_lyapunov_exponent_or_by_J(lyapunov, J, side):
    lowest = {"step": 15, "epoch": 3, "loss": 0.7}
    summary = summary_of(curve(), skip=0.5, lowest=lowest) | {"lyapunov": lyapunov, "J": J, "slope_error": 2e-4}
    known = lyapunov is not None and not math.isnan(lyapunov)
    expected = f", Lyapunov {lyapunov:+.3f}" if known else ""
    assert f" ({side}){expected}; J² grows by 0.05 ± 0.0002 an epoch (epochs 4 to 8); lowest" in sentence(summary)
    assert sentence(summary).endswith(f"in epoch 3 at J = {math.sqrt(0.45):.3f}")
    assert sentence(summary | {"J_at_lowest_test_loss": None}).endswith("lowest test loss 0.7000 in epoch 3")
