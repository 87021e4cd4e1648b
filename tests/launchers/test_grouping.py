"""Which jobs may train in one group: each setting is changed in turn and moves the job to another group, or not."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from start_training.config.composed import plain
from start_training.launchers.grouping import check_replicas, group_key, ungroupable_reason

CONF = Path(__file__).parents[2] / "conf"
BASES = {
    "default": (),
    "residual": ("model=residual", "schedule=one_cycle", "callbacks=start_of_training"),
    "convolutional": ("model=convolutional", "model.residual=true", "optimizer=adamw", "callbacks=phase_and_lengths"),
}
# Settings (and groups of settings) that may differ between replicas of a group; any other setting changes the group.
PER_REPLICA = (
    *("monitor", "mode", "trial", "seed", "datamodule.seed", "initializer", "initialize", "optimizer.lr"),
    *("optimizer.momentum", "optimizer.betas", "optimizer.weight_decay", "depth", "size", "figure", "logger"),
    *("ckpt_path", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.enable_progress_bar"),
)
SCALES = ("model.scales", "model.eta", "model.base", "model.exponent")  # settings of nets with residual modules


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
def test_jobs_that_differ_only_in_per_replica_settings_train_together(base):
    """Changes every setting of a config, one at a time."""
    per_replica = PER_REPLICA if base == "default" else (*PER_REPLICA, *SCALES)
    assert ungroupable_reason(composed(base)) is None
    for name in leaves(composed(base)):
        other = "torch.nn.Linear" if name == "model___target_" else "another"
        equal = group_key(changed(base, **{name: other})) == group_key(composed(base))
        setting = name.replace("__", ".")
        assert equal is any(setting == name or setting.startswith(f"{name}.") for name in per_replica), setting


def test_a_setting_that_only_one_of_two_configs_has_makes_another_group():
    for added in ({"readout_initializer": 1}, {"position": 3}):  # per replica, and a setting that defines others
        assert group_key(changed(**added)) == group_key(composed("default"))
    for added in ({"callbacks__tests": 1}, {"optimizer__dampening": 0.1}, {"trainer__limit_test_batches": 1}):
        assert group_key(changed(**added)) != group_key(composed("default"))
    without = changed()
    del without["trainer"]["accelerator"]
    assert group_key(without) == group_key(changed(trainer__accelerator="auto")) != group_key(changed())


def test_settings_named_like_residual_scales_change_the_group_of_a_custom_net():
    """In a custom net, `base` may be anything, such as a width."""
    one, other = (changed(model={"_target_": "torch.nn.Linear", "base": base}) for base in (1, 2))
    assert group_key(one) != group_key(other)
    assert re.fullmatch("[0-9a-f]{12}", group_key(one))


MINE = {"_target_": "tests.broken.Broken", "seed": 1}
AGAIN = {"_target_": "start_training.callbacks.activation_lengths.ActivationLengths"}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"callbacks__mine": MINE}, "callbacks.mine = Broken: does not support groups"),
        ({"callbacks__again": AGAIN}, "several callbacks of one class"),
        ({"callbacks__lengths__updates": True}, "callbacks.lengths.updates = True: not supported in groups"),
        ({"logger__mine": {"_target_": "pytorch_lightning.loggers.CSVLogger"}}, "logger.mine = CSVLogger: does"),
        ({"datamodule___target_": "pytorch_lightning.LightningDataModule"}, "datamodule LightningDataModule: is not"),
        ({"datamodule___target_": "tests.replicas.datamodules.Flipped"}, "datamodule Flipped: overrides on_after_"),
        ({"optimizer___target_": "torch.optim.RMSprop"}, "optimizer RMSprop: groups support only SGD, Adam, AdamW"),
        ({"optimizer___target_": "torch.optim.Nothing"}, "optimizer._target_ = 'torch.optim.Nothing': cannot be"),
        ({"schedule": {"_target_": "torch.optim.lr_scheduler.StepLR"}}, "schedule StepLR: groups support only"),
        ({"trainer__limit_train_batches": 3}, "trainer.limit_train_batches = 3: not supported in groups"),
        ({"trainer__precision": "16-mixed"}, "trainer.precision = 16-mixed: not supported in groups"),
        ({"trainer__accelerator": "mps"}, "groups need float64"),
        ({"trainer___target_": "tests.broken.Broken"}, "trainer Broken: is not pytorch_lightning.Trainer"),
        ({"compile": True}, "compile = true"),
        ({"ckpt_path": "some/last.ckpt"}, "ckpt_path is set"),
    ],
)  # fmt: skip
def test_a_job_that_cannot_train_in_a_group_has_a_reason(settings, why):
    assert ungroupable_reason(changed(**settings)).startswith(why)


def test_optimizers_precisions_and_datamodules_that_groups_support_are_no_reason(monkeypatch):
    for kind in ("SGD", "Adam", "AdamW"):
        assert ungroupable_reason(changed(optimizer___target_=f"torch.optim.{kind}")) is None
    for precision in ("32-true", "64-true", "bf16-mixed"):
        assert (
            ungroupable_reason(changed(trainer__precision=precision, trainer__accelerator="gpu", callbacks__none=None))
            is None
        )
    assert (
        ungroupable_reason(
            changed(datamodule___target_="start_training.datamodules.cifar10.Cifar10", callbacks=None, logger=None)
        )
        is None
    )
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert ungroupable_reason(changed(trainer__accelerator="auto")).startswith("groups need float64")
    assert ungroupable_reason(changed(trainer__accelerator="cpu")) is None


def test_several_devices_and_clipping_of_the_gradient_norm_are_rejected():
    by = "trainer__gradient_clip_algorithm"
    for settings, mistake in (
        ({"trainer__devices": 2}, "trainer.devices = 2: "),
        ({"trainer__devices": -1}, "trainer.devices = -1: "),
        ({"trainer__strategy": "ddp"}, "trainer.strategy = ddp: "),
        ({"trainer__num_nodes": 2}, "trainer.num_nodes = 2: "),
        ({"trainer__gradient_clip_val": 0.5}, "trainer.gradient_clip_val = 0.5: hydra/launcher="),
        ({"trainer__gradient_clip_val": 1, by: "norm"}, "trainer.gradient_clip_val = "),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(mistake)}"):
            check_replicas(changed(**settings))
    by_value = {"trainer__gradient_clip_val": 1, by: "value"}
    for settings in ({}, {"trainer__devices": "auto"}, {"trainer__gradient_clip_val": 0}, by_value, {"trainer": None}):
        check_replicas(changed(**settings))
