"""Which jobs may train together: one setting at a time, whether it makes another group, or a job of its own."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from start_training.config.composed import plain
from start_training.launchers.grouping import alone, check_replicas, group_key

CONF = Path(__file__).parents[2] / "conf"
BASES = {
    "default": (),
    "residual": ("model=residual", "schedule=one_cycle", "callbacks=start_of_training"),
    "convolutional": ("model=convolutional", "model.residual=true", "optimizer=adamw", "callbacks=phase_and_lengths"),
}
# What each replica has of its own, by the beginnings of its settings; all others make another group.
OWN = ("seed", "datamodule.seed", "initializer", "optimizer.lr", "optimizer.momentum", "optimizer.betas",
       "optimizer.weight_decay", "depth", "size", "figure", "logger", "ckpt_path", "trainer.devices",
       "trainer.num_nodes", "trainer.strategy", "trainer.enable_progress_bar")  # fmt: skip
SCALES = ("model.scales", "model.eta", "model.base", "model.exponent")  # of nets that have residual modules


@cache
def composed(base: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", list(BASES[base])))


def changed(base: str = "default", **settings: Any) -> dict[str, Any]:
    """The composed config with other values of settings, whose names have __ for dots."""
    config = copy.deepcopy(composed(base))
    for name, value in settings.items():
        *groups, key = name.split("__")
        node = config
        for group in groups:
            node = node.setdefault(group, {})
        node[key] = value
    return config


def leaves(node: dict[str, Any], name: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield from leaves(value, f"{name}{key}__") if isinstance(value, dict) and value else [f"{name}{key}"]


@pytest.mark.parametrize("base", BASES)
def test_jobs_train_together_that_differ_only_in_what_a_replica_has_of_its_own(base):
    """Every setting of a config, one at a time."""
    own = OWN if base == "default" else (*OWN, *SCALES)
    assert alone(composed(base)) is None
    for name in leaves(composed(base)):
        other = "torch.nn.Linear" if name == "model___target_" else "another"
        equal = group_key(changed(base, **{name: other})) == group_key(composed(base))
        setting = name.replace("__", ".")
        assert equal is any(setting == each or setting.startswith(f"{each}.") for each in own), setting


def test_a_setting_that_only_one_of_two_configs_has_makes_another_group():
    for added in ({"readout_initializer": 1}, {"position": 3}):  # each replica's own, and an experiment's
        assert group_key(changed(**added)) == group_key(composed("default"))
    for added in ({"callbacks__tests": 1}, {"optimizer__dampening": 0.1}, {"trainer__limit_test_batches": 1}):
        assert group_key(changed(**added)) != group_key(composed("default"))
    without = changed()
    del without["trainer"]["accelerator"]
    assert group_key(without) == group_key(changed(trainer__accelerator="auto")) != group_key(changed())


def test_a_net_of_ones_own_has_no_residual_scales():
    """Whatever `base` may be there: a width, say."""
    one, other = (changed(model={"_target_": "torch.nn.Linear", "base": base}) for base in (1, 2))
    assert group_key(one) != group_key(other)
    assert re.fullmatch("[0-9a-f]{12}", group_key(one))


MINE = {"_target_": "tests.broken.Broken", "seed": 1}
AGAIN = {"_target_": "start_training.callbacks.activation_lengths.ActivationLengths"}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"callbacks__mine": MINE}, "callbacks.mine = Broken: needs a trainer of its own"),
        ({"callbacks__again": AGAIN}, "several callbacks of one class"),
        ({"logger__mine": {"_target_": "pytorch_lightning.loggers.CSVLogger"}}, "logger.mine = CSVLogger: needs"),
        ({"datamodule___target_": "pytorch_lightning.LightningDataModule"}, "LightningDataModule holds no tensors"),
        ({"datamodule___target_": "tests.replicas.datamodules.Flipped"}, "Flipped.on_after_batch_transfer: is its own"),
        ({"optimizer___target_": "torch.optim.RMSprop"}, "optimizer RMSprop: only SGD, Adam, AdamW train together"),
        ({"optimizer___target_": "torch.optim.Nothing"}, "optimizer._target_ = 'torch.optim.Nothing': cannot be"),
        ({"schedule": {"_target_": "torch.optim.lr_scheduler.StepLR"}}, "schedule StepLR: is not one of"),
        ({"trainer__limit_train_batches": 3}, "trainer.limit_train_batches = 3"),
        ({"trainer__precision": "16-mixed"}, "trainer.precision = 16-mixed"),
        ({"trainer__accelerator": "mps"}, "an Apple GPU has no float64"),
        ({"trainer___target_": "tests.broken.Broken"}, "trainer Broken: is not Lightning's"),
        ({"compile": True}, "compile = true"),
        ({"ckpt_path": "some/last.ckpt"}, "ckpt_path is set"),
    ],
)  # fmt: skip
def test_what_trains_on_its_own_says_why(settings, why):
    assert alone(changed(**settings)).startswith(why)


def test_what_a_group_does_itself_is_no_reason_to_train_on_its_own(monkeypatch):
    for kind in ("SGD", "Adam", "AdamW"):
        assert alone(changed(optimizer___target_=f"torch.optim.{kind}")) is None
    for precision in ("32-true", "64-true", "bf16-mixed"):
        assert alone(changed(trainer__precision=precision, trainer__accelerator="gpu", callbacks__none=None)) is None
    assert (
        alone(changed(datamodule___target_="start_training.datamodules.cifar10.Cifar10", callbacks=None, logger=None))
        is None
    )
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert alone(changed(trainer__accelerator="auto")).startswith("an Apple GPU")
    assert alone(changed(trainer__accelerator="cpu")) is None


def test_what_cannot_be_had_with_replicas_is_refused_and_one_device_and_clipping_by_value_are_not():
    by = "trainer__gradient_clip_algorithm"
    for settings, mistake in (
        ({"trainer__devices": 2}, "trainer.devices = 2: "),
        ({"trainer__devices": -1}, "trainer.devices = -1: "),
        ({"trainer__strategy": "ddp"}, "trainer.strategy = ddp: "),
        ({"trainer__num_nodes": 2}, "trainer.num_nodes = 2: "),
        ({"trainer__gradient_clip_val": 0.5}, "trainer.gradient_clip_val = 0.5: clips a norm"),
        ({"trainer__gradient_clip_val": 1, by: "norm"}, "trainer.gradient_clip_val = "),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(mistake)}"):
            check_replicas(changed(**settings))
    by_value = {"trainer__gradient_clip_val": 1, by: "value"}
    for settings in ({}, {"trainer__devices": "auto"}, {"trainer__gradient_clip_val": 0}, by_value, {"trainer": None}):
        check_replicas(changed(**settings))
