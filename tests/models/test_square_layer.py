"""The net with one square layer without biases, on pixels or on means over squares of pixels."""

import pytest
import torch

from start_training.initializers.initialize import initialize_
from start_training.initializers.phase_point import PhasePoint
from start_training.models.square_layer import SquareLayer


@pytest.mark.parametrize("window, width", [(1, 784), (2, 196), (4, 49), (28, 1)])
def test_the_layer_is_as_wide_as_its_inputs(window, width):
    net = SquareLayer((1, 28, 28), 10, window=window)
    assert net.hidden.linear.weight.shape == (width, width)
    assert net.hidden.linear.bias is None
    assert net.readout.bias is not None
    assert SquareLayer((1, 28, 28), 10, window=window, width=width).width == width


def test_the_forward_pass_agrees_with_the_formula(generator):
    net, images = SquareLayer((1, 4, 6), 3, window=2), torch.randn(5, 1, 4, 6, generator=generator)
    initialize_(net, PhasePoint(0.3, 1.0), generator=generator)
    means = torch.stack([images[:, 0, i : i + 2, j : j + 2].mean((1, 2)) for i in (0, 2) for j in (0, 2, 4)], 1)
    expected = torch.tanh(means @ net.hidden.linear.weight.T) @ net.readout.weight.T + net.readout.bias
    torch.testing.assert_close(net(images), expected)
    assert not torch.allclose(net(images + 1), expected)


def test_inputs_that_are_not_images_are_accepted_without_a_window():
    assert SquareLayer((20,), 3)(torch.ones(2, 20)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"^window = 2: must divide height and width of images, but .* shape \(20,\)"):
        SquareLayer((20,), 3, window=2)
