"""Objects built from plain configs, and the setting that an error message names if building fails."""

import pytest
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from start_training.config.build import build_initializer, build_net, build_optimizer
from start_training.config.build_module import task_module
from start_training.config.mistakes import name_group_in_errors, name_setting_in_errors
from start_training.datamodules.random_inputs import RandomInputs
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.runs.outcome import Diverged
from start_training.stop_signals import Interrupted

HE = {"_target_": "start_training.initializers.variance_scaling.VarianceScaling", "scale": 2.0}
ZEROS = {"_target_": "torch.nn.init.zeros_"}
CONFIG = {
    "seed": 3,
    "model": {"_target_": "start_training.models.fully_connected.FullyConnected", "depth": 2, "width": 5},
    "initializer": HE,
    "readout_initializer": ZEROS,
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
    "schedule": {"_target_": "start_training.schedules.one_cycle.OneCycle", "momentum": None},
    "trainer": {"max_epochs": 2},
}
DATA = RandomInputs(7, 3)


def test_the_shape_of_a_net_is_given_by_its_data_and_its_weights_by_the_seed():
    torch.manual_seed(1)
    net = build_net(CONFIG, DATA)
    torch.manual_seed(2)
    again, other = build_net(CONFIG, DATA), build_net({**CONFIG, "seed": 4}, DATA)
    first = [built.hidden[0].linear.weight for built in (net, again, other)]
    assert first[0].shape == (5, 7) and net.readout.weight.shape == (3, 5)
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert (net.readout.weight == 0).all()
    image = {"model": {"_target_": "start_training.models.square_layer.SquareLayer"}}
    assert build_net({**CONFIG, **image}, DATA).hidden.linear.weight.shape == (7, 7)  # takes input_shape
    assert (build_net({**CONFIG, "readout_initializer": None}, DATA).readout.weight != 0).any()


def test_a_classifier_has_the_optimizer_and_the_schedule_of_its_config():
    classifier = task_module(CONFIG, build_net(CONFIG, DATA), DATA)
    assert classifier.seed == 3
    optimizer = classifier._optimizer(classifier.parameters())
    assert (type(optimizer), optimizer.param_groups[0]["lr"]) == (torch.optim.SGD, 0.1)
    assert build_optimizer(CONFIG).__name__ == "torch.optim.SGD"
    assert isinstance(build_initializer(HE), VarianceScaling)
    assert task_module({**CONFIG, "schedule": None}, build_net(CONFIG, DATA), DATA)._schedule is None


@pytest.mark.parametrize(
    ("group", "changed", "message"),
    [
        ("optimizer", {"weight_decay": -1}, "optimizer.weight_decay = -1: must be a number of at least 0"),
        ("optimizer", {"rate": 1}, "optimizer.rate = 1: no such setting; must be one of dampening, "),
        ("optimizer", {"nesterov": True}, "optimizer: Nesterov momentum requires"),
        ("optimizer", {"_target_": "torch.optim.None"}, r"optimizer._target_ = 'torch.optim.None': cannot be imported"),
        ("schedule", {"cycle": 2.0}, "schedule.cycle = 2.0: must be a fraction of the run, above 0 and at most 1"),
        ("model", {"input_size": 3}, "model.input_size = 3: no such setting; must be one of activation, depth, "),
        ("initializer", {"scale": "two"}, "initializer"),
    ],
)
def test_an_error_message_begins_with_group_key_and_value(group, changed, message):
    config = {**CONFIG, group: {**CONFIG[group], **changed}}
    with pytest.raises(ValueError, match=f"^{message}"):
        task_module(config, build_net(config, DATA), DATA)


def test_errors_name_their_group_but_divergence_and_interruption_are_passed_on():
    for error, message in (
        (ValueError("lr = 3: too large"), "group.lr = 3: too large"),
        (ValueError("other.lr = 3: too large"), "other.lr = 3: too large"),
        (TypeError("no good\n  key 'lr' of 3"), "group.lr = 3: no good key 'lr' of 3"),
        (TypeError("lr of 34 or 1.3"), "group: lr of 34 or 1.3; one of its settings must change: lr = 3"),
        (KeyError("x"), "group: KeyError: 'x'; one of its settings must change: lr = 3"),
    ):
        with pytest.raises(ValueError) as caught, name_group_in_errors("group", {"lr": 3}):
            raise error
        assert str(caught.value) == message
    for end in (Diverged(3), Interrupted(2)):
        with pytest.raises(type(end)), name_group_in_errors("group", {}):
            raise end
    assert (Diverged(3).step, Interrupted(15).exit_status) == (3, 143)


def test_a_key_that_only_one_group_has_is_prefixed_with_the_group():
    config = {"a": {"depth": 1, "b": {"width": 2, "size": 3}}, "c": {"depth": 2}, "size": 4, "trainer": {"devices": 3}}
    for error, message in (
        (ValueError("width = 2: bad"), "a.b.width = 2: bad"),
        (ValueError("depth = 2: bad"), "depth = 2: bad"),  # two groups have it
        (ValueError("size = 4: bad"), "size = 4: bad"),  # the one at the root
        (ValueError("bad"), "bad"),
        (MisconfigurationException("bad devices 3"), "trainer.devices = 3: bad devices 3"),
    ):
        with pytest.raises(ValueError) as caught, name_setting_in_errors(config):
            raise error
        assert str(caught.value) == message
