"""The weight-decay guideline: its formulas, simulated SGD that obeys them, and the final J² of runs."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from start_training.order_chaos.layer_phases import layer_phase
from start_training.order_chaos.slope import Slope, fit_slope
from start_training.order_chaos.weight_decay_guideline import Descent, MeanSlope, Settled, crossing, saturation

PAPER = {"eta": 0.1, "alpha": 0.0, "batch": 32, "samples": 60_000}


def test_lambda_star_agrees_with_the_formula():
    lambda_star = Descent(**PAPER).lambda_star(0.125)
    assert lambda_star == pytest.approx(0.125 * 32 / (4 * 0.1 * 60_000))
    assert Descent(**{**PAPER, "alpha": 0.9}).lambda_star(0.125) == pytest.approx(lambda_star / 10)
    assert Descent(**PAPER).decay_rate(2 * lambda_star) == pytest.approx(0.125)  # at J² = 1 weight decay removes A
    for changed, named in (({"alpha": 1.0}, "alpha = 1.0"), ({"batch": 0}, "batch = 0")):
        with pytest.raises(ValueError, match=named):
            Descent(**{**PAPER, **changed})
    for method, named in (("lambda_star", "A = -1"), ("decay_rate", "weight_decay = -1")):
        with pytest.raises(ValueError, match=named):
            getattr(Descent(**PAPER), method)(-1)


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.2])
def test_saturation_solves_its_equation(rate):
    t = np.linspace(0, 60, 6001)
    J2 = saturation(t, start=0.25, A=0.1, rate=rate)
    assert J2[0] == 0.25
    assert np.gradient(J2, t)[1:-1] == pytest.approx(0.1 - rate * J2[1:-1], abs=1e-5)


def pushed(decay: float, *, N: int, momentum: float, nesterov: bool = False) -> NDArray[np.float64]:
    """Train a layer by SGD on noise as gradients, the premise of the guideline, and return J² after each epoch.

    With noise of standard deviation s, J² of an N × N layer grows by N (eta s / (1 − alpha))² per step. Here A is 0.2.
    """
    eta, steps, epochs = 0.1, 40, 60
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(N, N, generator=generator) * 0.5 / math.sqrt(N))
    optimizer = torch.optim.SGD([weight], lr=eta, momentum=momentum, weight_decay=2 * decay, nesterov=nesterov)
    deviation = math.sqrt(0.2 / steps / N) * (1 - momentum) / eta
    J2 = [layer_phase(weight).J2]
    for _ in range(epochs):
        for _ in range(steps):
            weight.grad = deviation * torch.randn(N, N, generator=generator)
            optimizer.step()
        J2.append(layer_phase(weight).J2)
    return np.array(J2)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.8, True)], ids=["plain", "nesterov"])
def test_sgd_with_gradients_independent_of_the_weights_settles_at_the_edge(momentum, nesterov):
    descent, N = Descent(eta=0.1, alpha=momentum, batch=25, samples=1000), 50  # 40 steps per epoch
    J2 = pushed(descent.lambda_star(0.2), N=N, momentum=momentum, nesterov=nesterov)
    # The correlation time of J² is 5 epochs, so that the last 15 epochs hold about 4 independent values of J². Each is
    # a mean of N² squares of standard deviation √2.
    error = math.sqrt(2 / N**2 / 4)
    assert abs(J2[-15:].mean() - 1) < 4 * error
    assert np.abs(J2 - saturation(np.arange(61), start=0.25, A=0.2, rate=0.2)).max() < 0.1
    twice = pushed(2 * descent.lambda_star(0.2), N=N, momentum=momentum, nesterov=nesterov)
    assert abs(twice[-15:].mean() - 1) > 30 * error  # the control: PyTorch's factor 2 applied twice
    if momentum:
        free = fit_slope(np.arange(61), pushed(0.0, N=100, momentum=momentum), window=(0, 60))
        assert pytest.approx(0.2, rel=0.03) == free.A  # the slope of a run without decay is A


def slope(A: float, *, C: float = 0.2, error: float = 0.01, bend: float = 0.0) -> Slope:
    return Slope(A, error, C, 5.0, 10.0, 6, early=A * (1 - bend / 2), late=A * (1 + bend / 2))


def test_the_error_of_A_combines_the_errors_of_fit_seeds_and_bend():
    straight = MeanSlope([slope(0.10, C=0.1), slope(0.12), slope(0.14, error=0.02)])
    assert (straight.A, straight.C, straight.bend) == pytest.approx((0.12, 0.5 / 3, 0))
    assert straight.fit == pytest.approx(math.sqrt(0.0006) / 3)
    assert straight.seeds == pytest.approx(0.02 / math.sqrt(3))
    assert straight.error == straight.statistical == straight.seeds
    assert MeanSlope([slope(0.12, error=0.05)] * 2).statistical == pytest.approx(0.05 / math.sqrt(2))
    bent = MeanSlope([slope(0.10, bend=-0.4), slope(0.12, bend=-0.4), slope(0.14, bend=-0.4)])
    assert bent.error == pytest.approx(math.hypot(straight.seeds, 0.12 * 0.2))
    one = MeanSlope([slope(0.1)])
    assert math.isnan(one.seeds) and one.error == one.fit == 0.01


def test_a_bend_is_extrapolated_to_the_edge():
    far = MeanSlope([slope(0.02, bend=-0.2)])  # its line reaches 1 in epoch 40, 32.5 epochs from the window's middle
    assert far.bend_at_edge == pytest.approx(-0.2 * 32.5 / 2.5)
    assert far.error == pytest.approx(math.hypot(0.01, 0.02 * 2.6 / 2))
    near = MeanSlope([slope(0.1, bend=-0.2)])  # its line reaches 1 within the window
    assert near.bend_at_edge == pytest.approx(-0.2)
    epochs, error = MeanSlope([slope(0.1), slope(0.2)]).epochs_to_edge
    assert (epochs, error) == pytest.approx((6, 2))


def test_growth_is_positive_if_above_two_standard_errors_for_every_seed_and_linear_for_most():
    assert MeanSlope([slope(0.0201)]).positive and not MeanSlope([slope(0.0199)]).positive
    assert not MeanSlope([slope(-0.1)]).positive
    assert not MeanSlope([slope(0.1), slope(0.1), slope(0.1), slope(0.0)]).positive  # one seed does not grow
    opposite = MeanSlope([slope(0.1), slope(0.2), slope(-0.3)])  # their sum is a rounding error
    assert (opposite.positive, opposite.bend) == (False, math.inf)
    straight, bent = slope(0.1), slope(0.1, bend=0.9)
    assert MeanSlope([straight, straight, bent]).linear and not MeanSlope([straight, bent]).linear


@pytest.mark.parametrize(("epochs", "share"), [(41, 10), (9, 3), (4, 3)])
def test_a_run_has_settled_if_J2_changes_by_less_than_two_percent_at_its_end(epochs, share):
    t = np.arange(float(epochs))
    for times, moving in ((1.01, True), (0.99, False)):
        for sign in 1, -1:
            change = sign * 0.02 * times / share * (t - t[-1] + share / 2)  # relative to the mean at the end
            settled = Settled.of(t, 0.7 * (1 + change))
            expected = (0.7, sign * 0.014 * times / share, share)
            assert (settled.J2, settled.drift, settled.epochs) == pytest.approx(expected)
            assert settled.moving == moving
    with pytest.raises(ValueError, match="epochs"):
        Settled.of(t[:3], t[:3])


def test_the_growth_under_decay_is_measured_before_a_run_has_settled():
    t = np.arange(41.0)
    early = Settled.of(t, saturation(t, start=0.25, A=0.03, rate=0.03))
    assert early.moving
    assert early.A_under_decay(0.03) == pytest.approx(0.03, rel=0.01)
    assert early.A_under_decay(0.06) != pytest.approx(0.03, rel=0.3)


def test_the_crossing_is_interpolated_between_measurements():
    assert crossing([0, 1, 2, 3], [0.2, 0.6, 1.4, 1.2]) == pytest.approx(1.5)
    assert crossing([0, 2, 6], [0.2, 0.4, 1.6]) == pytest.approx(4)
    assert (crossing([3, 4], [1.0, 1.4]), crossing([0, 2], [0.2, 1.0])) == (3, 2)
    assert math.isnan(crossing([0, 1], [0.2, 0.4]))
