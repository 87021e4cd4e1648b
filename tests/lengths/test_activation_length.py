"""The length of each sample, against float64 arithmetic done the slow way."""

import pytest
import torch

from src.lengths.activation_length import FEW_VALUES, activation_lengths, activation_norms, lengths_of_layers

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
SHAPES = {
    "dense": (7, 33),
    "scalar": (7,),
    "sequence": (3, 11, 16),
    "convolution": (5, 4, 6, 3),
    "volume": (2, 3, 4, 5, 6),
    "one unit": (4, 1),
    "one sample": (1, 20),
    "empty batch": (0, 12),
    "no units": (3, 0),
}
HUGE_AND_TINY = [1e30, 1e38, 1e18, 1e-16, 1e-30, 1e-38, 1e-39]  # the last is subnormal


@pytest.fixture(params=[0, FEW_VALUES], ids=["float32 if it will do", "float64 at once"], autouse=True)
def few_values(request, monkeypatch):
    """What is few enough to sum in float64 without a look: nothing, or all that these tests measure."""
    monkeypatch.setattr("src.lengths.activation_length.FEW_VALUES", request.param)


def slow_lengths(activation):
    samples = [sample.double().flatten().tolist() for sample in activation]
    means = [sum(value * value for value in values) / max(len(values), 1) for values in samples]
    return torch.tensor(means, dtype=torch.float64)


def random(shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_lengths_are_mean_squares(shape, dtype, device):
    activation = random(shape, dtype=dtype)
    lengths = activation_lengths(activation.to(device)).cpu()
    torch.testing.assert_close(lengths, slow_lengths(activation), rtol=1e-6, atol=0)  # float64, of shape (samples,)


def test_the_comparison_tells_a_length_from_a_norm_or_a_variance():
    activation = random((7, 33))
    expected = slow_lengths(activation)
    for wrong in activation.norm(dim=1), activation.square().sum(1), activation.var(1), activation.var(1, correction=0):
        assert not torch.allclose(wrong.double(), expected, rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_channels_last_is_only_another_layout(device):
    activation = random((6, 5, 4, 3)).to(device)
    lengths = activation_lengths(activation.to(memory_format=torch.channels_last))
    torch.testing.assert_close(lengths, activation_lengths(activation), rtol=1e-6, atol=0)
    torch.testing.assert_close(activation_lengths(activation[:, ::2, 1:]).cpu(), slow_lengths(activation[:, ::2, 1:]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale", HUGE_AND_TINY)
def test_squares_outside_float32_are_no_trouble(scale, dtype, device):
    activation = (random((4, 50)).clamp(-2, 2).double() * scale).to(dtype)
    lengths = activation_lengths(activation.to(device)).cpu()
    torch.testing.assert_close(lengths, slow_lengths(activation), rtol=1e-6, atol=0)
    assert (lengths > 0).all()
    assert lengths.isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
def test_half_precision_squares_beyond_its_range(device):
    activation = torch.tensor([[65_504.0, -65_504.0], [6e-8, 0.0]], dtype=torch.float16)
    lengths = activation_lengths(activation.to(device)).cpu()
    torch.testing.assert_close(lengths, slow_lengths(activation), rtol=1e-6, atol=0)


def test_small_and_huge_samples_in_one_batch():
    activation = random((5, 40)) * torch.tensor([1e-40, 1e-20, 0.0, 1.0, 1e35])[:, None]
    lengths = activation_lengths(activation)
    torch.testing.assert_close(lengths, slow_lengths(activation), rtol=1e-6, atol=0)
    assert lengths[2] == 0


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_shows_in_its_own_sample_only(value):
    activation = random((3, 8))
    activation[1, 4] = value
    lengths = activation_lengths(activation)
    assert not lengths[1].isfinite()
    torch.testing.assert_close(lengths[[0, 2]], slow_lengths(activation[[0, 2]]), rtol=1e-6, atol=0)


def test_many_units_cost_few_digits():
    activation = random((2, 300_000)) + 1
    expected = activation.double().square().mean(1)
    torch.testing.assert_close(activation_lengths(activation), expected, rtol=1e-4, atol=0)


def test_layers_together_are_the_layers_one_by_one():
    layers = [random((6, 33)), random((6, 4, 5)) * 1e30, random((6,)).double(), torch.zeros(6, 2)]
    norms, values = zip(*map(activation_norms, layers), strict=True)
    together = lengths_of_layers(norms, torch.tensor(values, dtype=torch.float64))
    torch.testing.assert_close(together, torch.stack([slow_lengths(layer) for layer in layers]), rtol=1e-6, atol=0)
    for row, layer in zip(together, layers, strict=True):
        assert torch.equal(row, activation_lengths(layer))


def test_float32_is_taken_where_it_will_do_and_not_elsewhere(few_values, request):
    wide = "float64" in request.node.name
    for scale, expected in (1, torch.float64 if wide else torch.float32), (1e30, torch.float64), (0, torch.float64):
        assert activation_norms(random((4, 50)) * scale)[0].dtype == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_does_not_reach_inside(dtype):
    activation = random((4, 100), dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lengths = activation_lengths(activation)
    torch.testing.assert_close(lengths, slow_lengths(activation), rtol=1e-6, atol=0)


def test_lengths_are_no_part_of_the_graph_and_change_nothing():
    activation = random((3, 8)).requires_grad_()
    before = activation.detach().clone()
    assert not activation_lengths(activation).requires_grad
    assert torch.equal(activation, before)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(7, 33), (5, 4, 6, 3), (7,)], ids=str)
def test_compiled_lengths_are_the_eager_ones(shape):
    torch.compiler.reset()
    compiled = torch.compile(activation_lengths, fullgraph=True)
    for scale in (1.0, 1e30, 1e38, 1e-30, 0.0):
        activation = (random(shape).clamp(-2, 2).double() * scale).float()
        torch.testing.assert_close(compiled(activation), activation_lengths(activation), rtol=1e-6, atol=0)
