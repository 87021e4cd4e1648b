"""Tests of the text of a diagnosis."""

import dataclasses

from start_training.diagnosis.diagnose import diagnose
from start_training.diagnosis.diagnosis import WIDTH
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual

HE = VarianceScaling(2.0)


def report_of(diagnosis):
    """Return the report as one line, after checking that its lines are not too long."""
    text = str(diagnosis)
    assert all(len(line) <= WIDTH for line in text.splitlines())
    return " ".join(text.split())


def test_report_of_the_default_initialization(inputs):
    diagnosis = diagnose(FullyConnected(64, 10, depth=20, width=100), inputs, initializer=TorchDefault())
    report = report_of(diagnosis)
    for phrase in (
        "UNHEALTHY: FM1",
        "squared gradients shrink by ×0.167 per layer of the backward pass (−1.79 nats/layer) from layer 1 on",
        "Biases keep lengths constant",
        "by 2.45 (kappa 0.333 → 2) and set their biases to zero. [initializer=he_normal]",
        "The verdict is that of theory, and the measurement agrees with it.",
    ):
        assert phrase in report
    other = dataclasses.replace(diagnosis, measured=dataclasses.replace(diagnosis.measured, failure_modes=("FM2",)))
    assert "The measurement shows FM2, while theory predicts FM1. The verdict is that of theory" in report_of(other)


def test_report_of_a_narrow_net_shows_some_of_its_layers(inputs):
    diagnosis = diagnose(FullyConnected(64, 10, depth=100, width=10), inputs, initializer=HE)
    report = report_of(diagnosis)
    assert "UNHEALTHY: FM2" in report and "Failure mode 1 (FM1): no; lengths" in report
    assert "beta is 10 (threshold 3): the standard deviation of log-lengths over nets is 7.1 nats" in report
    assert "9.3% of nets are dead (threshold" in report
    assert report.count("activation ") == 23 and "hidden.99.activation" in report


def test_report_of_healthy_nets_has_no_advice(inputs):
    report = report_of(diagnose(FullyConnected(64, 10, depth=10, width=100), inputs, initializer=HE))
    assert "UNHEALTHY" not in report and "What to change" not in report
    settling = Residual(64, 10, modules=100, width=64, scales="geometric", base=0.95)
    report = report_of(diagnose(settling, inputs, initializer=HE))
    assert "UNHEALTHY" not in report and "over all layers, most of it in the earlier half" in report
