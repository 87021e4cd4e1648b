"""Values, derivatives and moments of theory's activations, against formulas, differences and quadrature."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.theory.activation import ACTIVATIONS, Homogeneous
from tests.theory.by_hand import VALUES, Z, gaussian_mean, leaky

X = np.array([-40, -5, -1.3, -0.2, -1e-6, 1e-6, 0.2, 1.3, 5, 40])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives(name):
    ours, value = ACTIVATIONS[name], VALUES[name]
    np.testing.assert_allclose(ours.value(X), value(X), rtol=1e-12, atol=1e-15)
    step = 1e-3 * np.minimum(np.abs(X), 1)
    differences = (8 * (value(X + step) - value(X - step)) - value(X + 2 * step) + value(X - 2 * step)) / (12 * step)
    np.testing.assert_allclose(ours.derivative(X), differences, rtol=1e-8, atol=1e-11)
    at_zero = {"relu": 0, "leaky_relu": 0.01, "gelu": 0.5, "silu": 0.5}.get(name, 1)  # as torch has it
    assert ours.derivative(np.zeros(1)) == pytest.approx(at_zero, rel=1e-15)


@given(st.floats(-1, 2))
def test_moments_of_a_homogeneous_activation(slope):
    activation, phi = Homogeneous(slope), leaky(Z, slope)
    moments = [activation.mean, activation.second, activation.third, 3 * activation.fourth]
    np.testing.assert_allclose(moments, [gaussian_mean(phi**k) for k in (1, 2, 3, 4)], rtol=1e-6, atol=1e-6)
    assert activation.peakedness == pytest.approx(activation.fourth / activation.second**2)
