"""What a diagnosis says in words."""

from torch import nn

from src.diagnosis.diagnose import diagnose
from src.diagnosis.report import WIDTH
from src.initializers.torch_default import TorchDefault
from src.initializers.variance_scaling import VarianceScaling
from src.models.fully_connected import FullyConnected
from src.models.residual import Residual

HE = VarianceScaling(2.0)


def words(net, inputs, **settings):
    text = str(diagnose(net, inputs, **settings))
    assert all(len(line) <= WIDTH for line in text.splitlines())
    return " ".join(text.split())


def test_of_the_default_initialization(inputs):
    said = words(FullyConnected(64, 10, depth=20, width=100), inputs, initializer=TorchDefault())
    for phrase in (
        "UNHEALTHY: FM1",
        "squared gradients, going back, shrink by ×0.167 per layer (−1.79 nats/layer), from layer 1 on",
        "goes on with depth: −35.84 nats over 20 layers, beyond ±",
        "settled on a plateau that biases feed",
        "by 2.45 (kappa 0.333 → 2) and set their biases to zero. [initializer=he_normal]",
        "theory: drift +0.00 nats, beta 0.2, 0.0% of nets dead: healthy",
        "Theory decides, and the measurement agrees.",
    ):
        assert phrase in said


def test_of_a_narrow_net(inputs):
    said = words(FullyConnected(64, 10, depth=100, width=10), inputs, initializer=HE)
    for phrase in (
        "UNHEALTHY: FM2",
        "FM1 no: lengths",
        "beta 10 (threshold",
        "9.3% of nets are dead",
        "10 wide, to 100",
    ):
        assert phrase in said


def test_of_what_settles(inputs):
    said = words(Residual(64, 10, modules=100, width=64, scales="geometric", base=0.95), inputs, initializer=HE)
    assert "HEALTHY" in said
    assert "in all and settle" in said


def test_of_a_healthy_net_there_is_nothing_to_change(inputs):
    said = words(FullyConnected(64, 10, depth=10, width=100), inputs, initializer=HE)
    assert "UNHEALTHY" not in said
    assert "What to change" not in said


def test_of_a_net_without_theory_there_is_no_theory_column(inputs):
    said = words(nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()), inputs)
    assert "Theory decides" not in said
    assert "forward ┃ backward" in said


def test_a_deep_net_is_shown_by_some_of_its_layers(inputs):
    text = str(diagnose(FullyConnected(64, 10, depth=200, width=30), inputs, initializer=HE, nets=2))
    assert text.count("activation ") == 23
    assert "hidden.199.activation" in text
