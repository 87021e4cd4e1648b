"""Optimizers beside torch's: schedule-free ones evaluate averages, all resume to the bit."""

import pytest
import torch

from start_training.callbacks.evaluation import evaluated_weights, switching
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.evaluate import evaluate
from start_training.training.train import train
from tests.same_run import assert_same_run
from tests.signalling import interrupted, resume

OPTIMIZERS = ("schedule_free_sgd", "schedule_free_adamw", "prodigy")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_learns_resumes_to_the_bit_and_is_evaluated_again(config, tmp_path, name):
    larger = ("model.depth=1", "model.width=64", "trainer.max_epochs=6", "callbacks.lengths.updates=true")
    settings = config(f"optimizer={name}", "schedule=none", *larger)
    if name == "schedule_free_sgd":
        settings["optimizer"]["lr"] = 0.3
    summary = train(Job(settings, tmp_path / "whole"))
    assert summary["metrics"]["test/accuracy"] > (0.3 if name == "prodigy" else 0.8)  # it estimates its rate first
    interrupted(settings, tmp_path / "cut", 15)
    resume(settings, tmp_path / "cut")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert evaluate(tmp_path / "whole")["test/loss"] == pytest.approx(summary["metrics"]["test/loss"], rel=1e-5)


def test_validation_uses_the_averages_and_leaves_the_weights_of_training(config, tmp_path):
    """The validation loss is that of the averages; without validation, training is the same to the bit."""
    settings = config("optimizer=schedule_free_adamw", "schedule=none", "datamodule.validation=0.1")
    summary = train(Job(settings, tmp_path / "run"))
    settings["trainer"]["limit_val_batches"] = 0
    train(Job(settings, tmp_path / "without"))
    states = [torch.load(RunDirectory(tmp_path / name).checkpoint, weights_only=True) for name in ("run", "without")]
    nets = [{key: value for key, value in state["state_dict"].items() if "net." in key} for state in states]
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])
    assert summary["metrics"]["val/loss"] < summary["metrics"]["train/loss"] + 1


def test_weights_are_switched_and_restored_to_the_bit():
    from schedulefree import SGDScheduleFree

    layer = torch.nn.Linear(3, 3)
    optimizer = SGDScheduleFree(layer.parameters(), lr=0.3)
    optimizer.train()
    for _ in range(3):
        layer(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
    trained = layer.weight.detach().clone()
    with evaluated_weights([optimizer]):
        assert not torch.equal(layer.weight, trained)
    assert torch.equal(layer.weight, trained) and switching([torch.optim.SGD(layer.parameters())]) == []
