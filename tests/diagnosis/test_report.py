"""What a diagnosis says in words."""

import dataclasses

from start_training.diagnosis.diagnose import diagnose
from start_training.diagnosis.diagnosis import WIDTH
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual

HE = VarianceScaling(2.0)


def words(diagnosis):
    text = str(diagnosis)
    assert all(len(line) <= WIDTH for line in text.splitlines())
    return " ".join(text.split())


def test_of_the_default_initialization(inputs):
    diagnosis = diagnose(FullyConnected(64, 10, depth=20, width=100), inputs, initializer=TorchDefault())
    said = words(diagnosis)
    for phrase in (
        "UNHEALTHY: FM1",
        "squared gradients, going back, shrink by ×0.167 per layer (−1.79 nats/layer), from layer 1 on",
        "Biases keep lengths on a plateau",
        "by 2.45 (kappa 0.333 → 2) and set their biases to zero. [initializer=he_normal]",
        "Theory decides, and the measurement agrees.",
    ):
        assert phrase in said
    other = dataclasses.replace(diagnosis, measured=dataclasses.replace(diagnosis.measured, failure_modes=("FM2",)))
    assert "The measurement shows FM2, theory predicts FM1: theory decides" in words(other)


def test_of_a_narrow_net_by_some_of_its_layers(inputs):
    diagnosis = diagnose(FullyConnected(64, 10, depth=100, width=10), inputs, initializer=HE)
    said = words(diagnosis)
    assert "UNHEALTHY: FM2" in said and "FM1 no: lengths" in said
    assert "beta 10 (threshold 3): log-lengths differ between nets by ±7.1 nats" in said
    assert "9.3% of nets are dead (threshold" in said
    assert said.count("activation ") == 23 and "hidden.99.activation" in said


def test_of_healthy_nets_there_is_nothing_to_change(inputs):
    said = words(diagnose(FullyConnected(64, 10, depth=10, width=100), inputs, initializer=HE))
    assert "UNHEALTHY" not in said and "What to change" not in said
    settling = Residual(64, 10, modules=100, width=64, scales="geometric", base=0.95)
    said = words(diagnose(settling, inputs, initializer=HE))
    assert "UNHEALTHY" not in said and "in all and settle" in said
