"""Which jobs may train together: one setting at a time, whether it makes another group, or a job of its own."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from src.jobs.composed import plain
from src.replicas.grouping import alone, check_replicas, group_key

CONF = Path(__file__).parents[2] / "conf"
RESIDUAL = "model=residual"
CONVOLUTIONAL = ("model=convolutional", "model.residual=true")


@cache  # nothing here writes in one
def config(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", list(overrides)))


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        ((), ("seed=1",)),
        ((), ("datamodule.seed=5",)),
        ((), ("initializer=lecun_uniform",)),
        ((), ("initializer=phase", "initializer.J=0.7")),
        ((), ("readout_initializer=glorot_normal",)),
        ((), ("optimizer.lr=0.5",)),
        ((), ("optimizer.momentum=0",)),
        ((), ("optimizer.weight_decay=1e-4",)),
        (("optimizer=adamw",), ("optimizer=adamw", "optimizer.betas=[0.8,0.99]")),
        ((RESIDUAL,), (RESIDUAL, "model.scales=constant", "model.eta=0.5")),
        ((RESIDUAL,), (RESIDUAL, "model.base=0.5")),
        ((RESIDUAL,), (RESIDUAL, "model.scales=power", "model.exponent=2")),
        ((RESIDUAL, "model.modules=2"), (RESIDUAL, "model.modules=2", "model.scales=[0.5,0.25]")),
        (CONVOLUTIONAL, (*CONVOLUTIONAL, "model.scales=inverse_depth")),
        ((), ("depth=10",)),  # of a family, whose model.depth says it again
        ((), ("+position=3",)),  # an experiment's own
        ((), ("logger=csv",)),
        ((), ("size=small",)),
        ((), ("trainer.enable_progress_bar=false",)),
        (("family=residual_constant", "depth=4"), ("family=residual_inverse_depth", "depth=4")),
    ],
)
def test_jobs_that_differ_in_what_a_replica_has_of_its_own_train_together(base, changed):
    assert config(*base) != config(*changed)
    assert group_key(config(*base)) == group_key(config(*changed))
    assert alone(config(*changed)) is None


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        ((), ("model.width=50",)),
        ((), ("model.depth=3",)),
        ((), ("model.widths=[10,10]",)),
        ((), ("model.activation=tanh",)),
        ((), ("model.dropout=0.1",)),
        ((), (RESIDUAL,)),
        ((RESIDUAL,), (RESIDUAL, "model.module_widths=[5]")),
        ((RESIDUAL,), (RESIDUAL, "model.ending=linear")),
        (CONVOLUTIONAL, (CONVOLUTIONAL[0], "model.residual=false")),
        ((), ("datamodule.batch_size=128",)),
        ((), ("datamodule.validation=0",)),
        ((), ("datamodule.scaling=unit",)),
        ((), ("datamodule=mnist",)),
        (("datamodule=random_inputs",), ("datamodule=random_inputs", "datamodule.data_seed=1")),
        ((), ("optimizer=adam",)),
        ((), ("optimizer.nesterov=true",)),
        (("optimizer=adam",), ("optimizer=adam", "optimizer.eps=1e-6")),
        ((), ("schedule=cosine",)),
        (("schedule=step",), ("schedule=step", "schedule.every_epochs=3")),
        ((), ("callbacks=start_of_training",)),
        ((), ("callbacks=none",)),
        ((), ("callbacks.lengths.every_n_steps=2",)),
        ((), ("trainer.max_epochs=3",)),
        ((), ("trainer.max_steps=7",)),
        ((), ("trainer.precision=64-true",)),
        ((), ("trainer.accelerator=gpu",)),
        ((), ("compile=true",)),
        (("family=constant_15", "depth=4"), ("family=constant_15", "depth=6")),
    ],
)
def test_jobs_that_differ_in_anything_else_make_another_group(base, changed):
    assert group_key(config(*base)) != group_key(config(*changed))


def test_a_net_of_ones_own_has_no_residual_scales():
    """Whatever `base` may be there: a width, say."""
    own = {"model": {"_target_": "torch.nn.Linear", "base": 1}}
    assert group_key({**config(), **own}) != group_key({**config(), "model": {**own["model"], "base": 2}})


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("callbacks=range_test",), "callbacks.range_test = RangeTest: needs a trainer of its own"),
        (
            ("+callbacks.again={_target_:src.callbacks.activation_lengths.ActivationLengths}",),
            "several callbacks of one class",
        ),
        (("+callbacks.mine={_target_:tests.jobs.broken.Broken,seed:1}",), "callbacks.mine = Broken: needs"),
        (("+logger.mine={_target_:pytorch_lightning.loggers.CSVLogger}",), "logger.mine = CSVLogger: needs"),
        (("datamodule._target_=pytorch_lightning.LightningDataModule",), "LightningDataModule holds no tensors"),
        (("datamodule._target_=tests.replicas.datamodules.Flipped",), "Flipped.on_after_batch_transfer: is its own"),
        (("optimizer._target_=torch.optim.RMSprop",), "optimizer RMSprop: only SGD, Adam, AdamW train together"),
        (("schedule=torch", "schedule._target_=torch.optim.lr_scheduler.StepLR"), "schedule StepLR: is not one of"),
        (("trainer.precision=16-mixed",), "trainer.precision = 16-mixed"),
        (("trainer.accelerator=mps",), "an Apple GPU has no float64"),
        (("trainer.accumulate_grad_batches=2",), "trainer.accumulate_grad_batches = 2"),
        (("trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=value"), "trainer.gradient_clip_val = 1"),
        (("+trainer.limit_train_batches=3",), "trainer.limit_train_batches = 3"),
        (("trainer._target_=tests.jobs.broken.Broken",), "trainer Broken: is not Lightning's"),
        (("compile=true",), "compile = true"),
        (("ckpt_path=some/last.ckpt",), "ckpt_path is set"),
        (("optimizer._target_=torch.optim.Nothing",), "optimizer._target_ = 'torch.optim.Nothing': cannot be"),
    ],
)
def test_what_trains_on_its_own_says_why(overrides, why):
    assert alone(config(*overrides)).startswith(why)


@pytest.mark.parametrize(
    "overrides",
    [
        *((), ("callbacks=none",), ("callbacks=phase_and_lengths",), ("callbacks=start_of_training",)),
        *(("+callbacks.nothing=null",), ("trainer=gpu",), ("trainer.precision=bf16-mixed",), ("optimizer=adam",)),
        *(("schedule=one_cycle",), ("datamodule=cifar10",), ("trainer.precision=64-true",)),
    ],
)
def test_what_this_project_trains_may_have_company(overrides):
    assert alone(config(*overrides)) is None


@pytest.mark.parametrize(
    ("overrides", "mistake"),
    [
        (("trainer=ddp_cpu",), "trainer.devices = 2: "),
        (("trainer=ddp",), "trainer.devices = -1: "),
        (("trainer.strategy=ddp",), "trainer.strategy = ddp: "),
        (("trainer.num_nodes=2",), "trainer.num_nodes = 2: "),
        (("trainer.gradient_clip_val=0.5",), "trainer.gradient_clip_val = 0.5: clips a norm"),
        (("trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=norm"), "trainer.gradient_clip_val = 1: "),
    ],
)
def test_what_cannot_be_had_with_replicas_is_refused(overrides, mistake):
    with pytest.raises(ValueError, match=f"^{re.escape(mistake)}"):
        check_replicas(config(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        *((), ("trainer=gpu",), ("trainer.devices=auto",), ("trainer.gradient_clip_val=0",)),
        ("trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=value"),
    ],
)
def test_what_merely_trains_on_its_own_or_together_is_not_refused(overrides):
    check_replicas(config(*overrides))
