"""The guideline: its formulas, that SGD obeys them where their premise holds, and what runs come to."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from src.order_chaos.guideline import Growth, Settled, crossing, decay_rate, edge_decay, saturation
from src.order_chaos.phase import layer_phase
from src.order_chaos.slope import Slope, fit_slope

PAPER = {"eta": 0.1, "alpha": 0.0, "batch": 32, "samples": 60_000}


def test_the_formula_by_hand():
    assert edge_decay(0.125, **PAPER) == pytest.approx(0.125 * 32 / (4 * 0.1 * 60_000))
    assert edge_decay(0.125, **{**PAPER, "alpha": 0.9}) == pytest.approx(edge_decay(0.125, **PAPER) / 10)
    assert decay_rate(edge_decay(0.125, **PAPER), **PAPER) == pytest.approx(0.125)  # it takes A at J² = 1


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"eta": 0.0}, "eta = 0.0"),
        ({"alpha": 1.0}, "alpha = 1.0"),
        ({"alpha": -0.1}, "alpha = -0.1"),
        ({"batch": 0}, "batch = 0"),
        ({"samples": 0}, "samples = 0"),
    ],
)
def test_what_no_descent_has_is_refused(changed, named):
    with pytest.raises(ValueError, match=named):
        edge_decay(0.1, **{**PAPER, **changed})
    with pytest.raises(ValueError, match=named):
        decay_rate(0.1, **{**PAPER, **changed})


def test_a_slope_that_is_not_above_0_has_no_decay():
    with pytest.raises(ValueError, match=r"A = -0\.1"):
        edge_decay(-0.1, **PAPER)
    with pytest.raises(ValueError, match=r"decay = -1"):
        decay_rate(-1, **PAPER)


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.2])
def test_saturation_solves_its_equation(rate):
    t = np.linspace(0, 60, 6001)
    J2 = saturation(t, start=0.25, A=0.1, rate=rate)
    assert J2[0] == 0.25
    assert np.gradient(J2, t)[1:-1] == pytest.approx(0.1 - rate * J2[1:-1], abs=1e-5)


def pushed(decay: float, *, momentum: float, nesterov: bool = False) -> NDArray[np.float64]:
    """J² after each epoch of SGD on gradients that are noise, whatever the weights: what the guideline presumes.

    Of noise of deviation s, J² of an N × N layer grows by N (eta s / (1 − alpha))² a step; here that makes A = 0.2.
    """
    N, eta, steps, epochs = 100, 0.1, 40, 60
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(N, N, generator=generator) * 0.5 / math.sqrt(N))
    optimizer = torch.optim.SGD([weight], lr=eta, momentum=momentum, weight_decay=2 * decay, nesterov=nesterov)
    deviation = math.sqrt(0.2 / steps / N) * (1 - momentum) / eta
    found = [layer_phase(weight).J2]
    for _ in range(epochs):
        for _ in range(steps):
            weight.grad = deviation * torch.randn(N, N, generator=generator)
            optimizer.step()
        found.append(layer_phase(weight).J2)
    return np.array(found)


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.8, False), (0.8, True)], ids=["plain", "momentum", "nesterov"]
)
def test_sgd_whose_push_does_not_depend_on_its_weights_settles_at_the_edge(momentum, nesterov):
    descent = {"eta": 0.1, "alpha": momentum, "batch": 25, "samples": 1000}  # 40 steps an epoch
    J2 = pushed(edge_decay(0.2, **descent), momentum=momentum, nesterov=nesterov)
    # A last quarter of 15 epochs, over which J² forgets three times: 4 means of N² squares, each of deviation √2.
    error = math.sqrt(2 / 100**2 / 4)
    assert abs(J2[-15:].mean() - 1) < 4 * error
    assert np.abs(J2 - saturation(np.arange(61), start=0.25, A=0.2, rate=0.2)).max() < 0.1
    twice = pushed(2 * edge_decay(0.2, **descent), momentum=momentum, nesterov=nesterov)
    assert abs(twice[-15:].mean() - 1) > 30 * error  # the test can fail: PyTorch's factor 2, taken twice


def test_the_measured_slope_of_such_a_run_gives_its_decay():
    J2 = pushed(0.0, momentum=0.8)
    found = fit_slope(np.arange(61), J2, window=(0, 60)).A
    assert found == pytest.approx(0.2, rel=0.03)


def slope(A: float, *, C: float = 0.2, error: float = 0.01, bend: float = 0.0) -> Slope:
    return Slope(A, error, C, 5.0, 10.0, 6, early=A * (1 - bend / 2), late=A * (1 + bend / 2))


def test_errors_of_fit_seeds_and_bend_add_as_stated():
    straight = Growth([slope(0.10), slope(0.12), slope(0.14)])
    assert (straight.A, straight.bend) == pytest.approx((0.12, 0))
    assert straight.fit == pytest.approx(0.01 / math.sqrt(3))
    assert straight.seeds == pytest.approx(0.02 / math.sqrt(3))
    assert straight.error == straight.statistical == straight.seeds
    bent = Growth([slope(0.10, bend=-0.4), slope(0.12, bend=-0.4), slope(0.14, bend=-0.4)])
    assert bent.error == pytest.approx(math.hypot(straight.seeds, 0.12 * 0.2))
    one = Growth([slope(0.1)])
    assert math.isnan(one.seeds) and one.error == one.fit == 0.01


def test_a_bend_goes_on_to_the_edge():
    far = Growth([slope(0.02, bend=-0.2)])  # whose line is at the edge in epoch 40, 32.5 from the window's middle
    assert far.bend_at_edge == pytest.approx(-0.2 * 32.5 / 2.5)
    assert far.error == pytest.approx(math.hypot(0.01, 0.02 * 2.6 / 2))
    near = Growth([slope(0.08, bend=-0.2)])  # at the window's end
    assert near.bend_at_edge == pytest.approx(-0.2)


def test_a_growth_is_positive_beyond_its_errors_and_linear_where_most_seeds_are():
    assert Growth([slope(0.03)]).positive
    assert not Growth([slope(0.015)]).positive
    assert not Growth([slope(-0.1)]).positive
    assert not Growth([slope(0.1), slope(0.1), slope(0.1), slope(0.0)]).positive  # of one seed J² stays as it is
    opposite = Growth([slope(0.1), slope(0.2), slope(-0.3)])  # whose sum is rounding
    assert (opposite.positive, opposite.bend) == (False, math.inf)
    assert Growth([slope(0.1), slope(0.1), slope(0.1, bend=0.9)]).linear
    assert not Growth([slope(0.1), slope(0.1, bend=-0.9), slope(0.1, bend=0.9)]).linear


def test_epochs_to_the_edge_are_those_of_the_line():
    epochs, error = Growth([slope(0.1), slope(0.2)]).epochs_to_edge
    assert (epochs, error) == pytest.approx((6, 2))


def test_where_a_run_settled_and_what_growth_is_left():
    t = np.arange(41.0)
    still = Settled.of(t, saturation(t, start=0.25, A=0.3, rate=0.3))
    assert abs(still.J2 - 1) < 1e-3 and not still.moving
    early = Settled.of(t, saturation(t, start=0.25, A=0.03, rate=0.03))
    assert early.moving
    assert early.growth(0.03) == pytest.approx(0.03, rel=0.01)  # also before it has settled
    assert early.growth(0.06) != pytest.approx(0.03, rel=0.3)
    with pytest.raises(ValueError, match="epochs"):
        Settled.of(t[:3], t[:3])


def test_the_crossing_lies_between_measurements():
    assert crossing([0, 1, 2, 3], [0.2, 0.6, 1.4, 1.2]) == pytest.approx(1.5)
    assert crossing([0, 1], [1.2, 1.4]) == 0
    assert math.isnan(crossing([0, 1], [0.2, 0.4]))
