"""LightningModules and LightningDataModules of the user's, named in YAML."""

import math
from typing import Any

import pandas as pd
import pytest
import torch

from start_training.config.build import build_datamodule
from start_training.config.build_module import build_module
from start_training.config.top_level import check_effects
from start_training.launchers.grouping import ungroupable_reason
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.metrics_file import read_metrics
from start_training.training.evaluate import evaluate
from start_training.training.train import train
from tests import own_modules
from tests.same_run import assert_same_run
from tests.signalling import interrupted, resume
from tests.wandb_records import logged, of_kind, records, values

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is already saved during checkpointing"),
    pytest.mark.filterwarnings("ignore:Trying to infer the `batch_size`"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`"),
]
OWN = "tests.own_modules"
PUBLIC = {"_target_": f"{OWN}.PublicData", "batch_size": 32, "seed": 0}
GAN = {"task": {"_target_": f"{OWN}.Gan", "lr": 0.01}, "datamodule": {"_target_": f"{OWN}.PlainData"}}


@pytest.fixture
def job(config, tmp_path):
    def make(name="run", *overrides, **groups):
        return Job({**config("trainer.max_epochs=2", *overrides), **groups}, tmp_path / name)

    return make


def test_a_public_datamodule_needs_no_attributes(job):
    summary = train(job(datamodule=PUBLIC))
    assert summary["status"] == "completed" and summary["steps"] == 6
    assert summary["metrics"].keys() == {"train/loss", "val/loss", "val/accuracy"}  # it has no test set
    run = RunDirectory(job().directory)
    assert (run.path / "lengths").is_dir() and run.summary()["objective"] == summary["metrics"]["val/loss"]


def test_a_module_gets_net_optimizer_and_schedule_and_its_metrics_are_those_of_the_run(job):
    groups = {"datamodule": PUBLIC, "task": {"_target_": f"{OWN}.Autoencoder", "noise": 0.2}}
    made = job("run", "schedule=one_cycle", "optimizer.lr=0.1", monitor="denoising/val", **groups)
    summary = train(made)
    assert summary["metrics"].keys() == {"denoising/train", "denoising/val"}
    assert summary["objective"] == summary["metrics"]["denoising/val"]
    rows = read_metrics(made.directory / "metrics.csv")
    assert [row["denoising/val"] for row in rows.values()][-1] == summary["objective"]
    rates = torch.load(RunDirectory(made.directory).checkpoint, weights_only=True)["lr_schedulers"][0]["total_steps"]
    assert rates == 6 and (made.directory / "lengths").is_dir()


def test_wandb_and_metrics_csv_get_what_a_module_logs_per_step_and_per_epoch(job):
    task = {"_target_": f"{__name__}.LogsPerStep"}  # three steps per epoch, fewer than Lightning's interval
    made = job("run", "logger=wandb", "callbacks=none", monitor="mine", datamodule=PUBLIC, task=task)
    summary = train(made)
    entries = records(made.directory)
    curves, shown = logged(entries), values(item for entry in of_kind(entries, "summary") for item in entry.update)
    assert {name: curves[name] for name in summary["metrics"]} == pytest.approx(summary["metrics"])
    assert summary["metrics"].keys() == {"mine", "denoising/train", "denoising/val"}
    assert shown["objective"] == summary["objective"] == summary["metrics"]["mine"]
    rows = read_metrics(made.directory / "metrics.csv")
    assert [row["mine"] for row in rows.values()] == [2.0, 5.0] and rows.keys() == {2, 5}


class LogsPerStep(own_modules.Autoencoder):
    def training_step(self, batch, batch_idx):
        self.log("mine", float(self.global_step))
        return super().training_step(batch, batch_idx)


def test_data_that_an_epoch_uses_up_are_an_error_of_the_next_epoch(job):
    for name, groups in (("task", {}), ("own", {"task": {"_target_": f"{OWN}.Autoencoder"}})):
        with pytest.raises(ValueError, match=r"^datamodule = UsedUp: its training loader has no batch in epoch 2"):
            train(job(name, "callbacks=none", datamodule={"_target_": f"{__name__}.UsedUp"}, **groups))


class UsedUp(own_modules.PublicData):
    input_shape, classes = (6,), 3
    batches: Any = None

    def train_dataloader(self):
        self.batches = self.batches or iter([*super().train_dataloader()])
        return self.batches


def test_a_gan_with_nets_of_its_own_is_initialized_measured_and_resumed_to_the_bit(job, config):
    whole, cut = job("whole", monitor="gan/generator", **GAN), job("cut", monitor="gan/generator", **GAN)
    summary = train(whole)
    assert summary["metrics"].keys() == {"gan/generator", "gan/discriminator"}
    assert summary["objective"] == summary["metrics"]["gan/generator"]
    assert summary["steps"] == 2 * 2 * 6  # optimizer steps of both
    names = set(RunDirectory(whole.directory).rows("lengths")["name"])
    assert {name.partition(".")[0] for name in names if "." in name} == {"generator", "discriminator"}
    interrupted(cut.config, cut.directory, 12)  # at the end of the first epoch
    resume(cut.config, cut.directory)
    assert_same_run(whole.directory, cut.directory)


def test_a_gan_on_data_of_the_project_resumes_within_an_epoch_to_the_bit(job):
    groups = {"monitor": "gan/generator", "task": {"_target_": f"{__name__}.GanOfDigits", "lr": 0.01}}
    whole, cut = (job(name, **groups) for name in ("whole", "cut"))
    train(whole)
    interrupted(cut.config, cut.directory, 8)  # optimizer steps of both, of 22 in an epoch
    resume(cut.config, cut.directory)
    tables = [RunDirectory(job.directory).rows("lengths") for job in (whole, cut)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    last, resumed = ([*read_metrics(job.directory / "metrics.csv").values()] for job in (whole, cut))
    assert last[-1] == resumed[-1]  # Lightning takes the means of the epoch of the resumption over its rest only


class GanOfDigits(own_modules.Gan):
    def training_step(self, batch, batch_idx):
        super().training_step(batch[0].flatten(1)[:, 20:24], batch_idx)


@pytest.mark.parametrize("step, same", [(6, True), (4, False)])
def test_a_run_on_a_public_datamodule_resumes_exactly_between_epochs_and_else_says_what_it_does(
    job, capsys, step, same
):
    whole, cut = (
        job("whole", datamodule={**PUBLIC, "batch_size": 16}),
        job("cut", datamodule={**PUBLIC, "batch_size": 16}),
    )
    train(whole)
    interrupted(cut.config, cut.directory, step)
    capsys.readouterr()
    assert resume(cut.config, cut.directory)["status"] == "completed"
    assert ("the loader of PublicData has no state_dict to continue it" in capsys.readouterr().err) != same
    if same:
        assert_same_run(whole.directory, cut.directory)


def test_the_weights_of_a_module_are_drawn_by_the_initializers(job):
    config = job(**GAN, initializer={"_target_": "torch.nn.init.constant_", "val": 0.25}).config
    built = build_module(config, build_datamodule(config))
    weights = [layer.weight for layer in built.module.modules() if isinstance(layer, torch.nn.Linear)]
    assert len(weights) == 6 and all((weight == 0.25).all() for weight in weights) and built.net is built.module


def test_auto_mends_a_module_by_the_loss_of_its_own_step_and_refuses_one_without(job):
    deep = {"initializer": {"_target_": "start_training.cure.auto.Auto", "samples": 32}, "datamodule": PUBLIC}
    autoencoder = {"task": {"_target_": f"{OWN}.Autoencoder"}, "monitor": "denoising/val"}
    done = train(job("own", "model.depth=2", **deep, **autoencoder))["initialization"]
    assert done["loss"] == "training_step of Autoencoder" and done["before"] in ("HEALTHY", "UNHEALTHY")
    with pytest.raises(ValueError, match=r"^initializer = auto: .*Gan"):
        train(job("gan", monitor="gan/generator", **{**deep, **GAN}))


def test_a_run_whose_monitored_metric_is_not_finite_has_diverged(job):
    summary = train(job(monitor="gan/generator", **{**GAN, "task": {**GAN["task"], "lr": 1e30}}))
    assert summary["status"] == "diverged" and summary["objective"] in (None, math.inf)


@pytest.mark.parametrize(
    ("overrides", "groups", "message"),
    [
        (["callbacks=range_test"], GAN, "range_test: Gan has automatic_optimization = False"),
        (["callbacks=start_of_training"], GAN, "start_of_training: the data has no test set|Gan: has no forward"),
        (["compile=true"], GAN, "compile = true: Gan builds its nets itself; must be false"),
        ([], {"datamodule": GAN["datamodule"]}, "datamodule = PlainData: has a first batch of type Tensor; must yield"),
        ([], {"datamodule": {"_target_": "pytorch_lightning.LightningDataModule"}}, "datamodule._target_ = .*: has no"),
        ([], {"task": {"_target_": "torch.nn.ReLU"}}, "task._target_ = 'torch.nn.ReLU': builds a ReLU; must be"),
        ([], {"task": {"_target_": f"{OWN}.Gan", "rate": 1}}, "task.rate = 1: no such setting; must be one of la"),
    ],
)  # fmt: skip
def test_what_a_feature_cannot_do_with_a_module_or_data_is_said_in_one_line(job, overrides, groups, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        train(job("run", *overrides, **groups))


def test_settings_that_a_module_or_its_data_do_not_take_are_refused_and_replicas_leave_it_alone(config):
    from omegaconf import OmegaConf

    settings = {**config(), **GAN}
    for typed, message in (
        ("model.width=3", "model.width = 3: has no effect, since the constructor of Gan takes no net"),
        ("schedule=cosine", "schedule = cosine: has no effect, since the constructor of Gan takes no schedule"),
        ("datamodule.batch_size=3", "datamodule.batch_size = 3: is no setting of tests.own_modules.PlainData"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            check_effects(OmegaConf.create(settings), [typed])
    check_effects(OmegaConf.create(settings), ["task.lr=0.1", "seed=1"])
    assert ungroupable_reason(settings) == "task Gan: groups train by classification only"


def test_a_module_is_evaluated_again_from_its_directory(job):
    made = job(datamodule=PUBLIC, task={"_target_": f"{OWN}.Autoencoder"})
    made.config["datamodule"] = {"_target_": f"{__name__}.Tested"}
    made.config["task"] = {"_target_": f"{__name__}.TestedModule"}
    summary = train(made)
    again = evaluate(made.directory, trust=[__name__, OWN])
    assert again == pytest.approx({"test/denoising": summary["metrics"]["test/denoising"]})


class Tested(own_modules.PublicData):
    __test__ = False

    def test_dataloader(self):
        return self.val_dataloader()


class TestedModule(own_modules.Autoencoder):
    __test__ = False

    def test_step(self, batch, batch_idx):
        self.log("test/denoising", torch.nn.functional.mse_loss(self.net(batch[0]), batch[0][:, :3]))
