"""LightningModules, data and callbacks for tests of callbacks, and `fit`, which trains a module with a Trainer."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.loader import TrainingLoader
from start_training.datamodules.samples import Samples

BATCHES, BATCH, VALIDATION = 6, 16, 50
TEST = {"min_lr": 1e-3, "max_lr": 1.0, "steps": 20, "val_points": 7, "val_samples": 30}  # of a range test
TEST["adaptive"] = False
PLAIN_SGD = partial(torch.optim.SGD, lr=0.1)
SGD = partial(PLAIN_SGD, momentum=0.9)

# Warnings that small data sets and short runs cause.
small = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*smaller than the logging interval",
    "ignore:.*dataloader.*shuffling",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
)


def samples(count: int, seed: int) -> TensorDataset:
    """Random inputs of 8 features, labelled by the largest of the first three."""
    inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, inputs[:, :3].argmax(1))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


class Plain(pl.LightningModule):
    """A classifier without randomness and with unshuffled batches, so that a test can repeat its training by hand."""

    def __init__(self, net: nn.Module | None = None, optimizer=SGD) -> None:
        super().__init__()
        self.net, self.optimizer = net or mlp(), optimizer

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]), batch_size=len(batch[1]))

    def configure_optimizers(self):
        return self.optimizer(self.parameters())

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * BATCH, seed=1), BATCH)

    def val_dataloader(self):
        return DataLoader(samples(VALIDATION, seed=2), 20)


class Resumable(Plain):
    """A module with a training loader that resumes within an epoch, and without validation."""

    val_dataloader, validation_step = pl.LightningModule.val_dataloader, pl.LightningModule.validation_step

    def train_dataloader(self):
        data = Samples(*samples(BATCHES * BATCH, seed=1).tensors)
        return TrainingLoader(data, BatchOrder(BATCHES * BATCH, BATCH))


def drawing_mlp(*norm: nn.Module) -> nn.Sequential:
    """A net with batch normalization and dropout."""
    torch.manual_seed(0)
    first = [nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*first, nn.Linear(16, 16), *norm, nn.ReLU(), nn.Linear(16, 3))


class Evaluated(Plain):
    """A module with a test set; dropout and shuffled loaders draw from torch's global generator."""

    val_dataloader, validation_step = pl.LightningModule.val_dataloader, pl.LightningModule.validation_step

    def __init__(self, optimizer=PLAIN_SGD) -> None:
        super().__init__(drawing_mlp(nn.BatchNorm1d(16)), optimizer)
        self.calls: list[tuple] = []

    def forward(self, inputs):
        logits = self.net(inputs)
        self.calls.append((self.trainer.state.stage.value, self.net.training, torch.is_grad_enabled(), logits.dtype))
        return logits

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * BATCH, seed=1), BATCH, shuffle=True)

    def test_dataloader(self):
        return DataLoader(samples(VALIDATION, seed=2), 20, shuffle=True)


class Busy(Plain):
    """A module with much state: random generators, counters, lists, metrics, batch normalization and logging."""

    def __init__(self, optimizer=SGD, *, scheduled: bool = False) -> None:
        super().__init__(drawing_mlp(), optimizer)
        self.scheduled = scheduled
        self.accuracy = MulticlassAccuracy(3)
        self.losses: list[torch.Tensor] = []
        self.stream = torch.Generator().manual_seed(4)
        self.order = torch.Generator().manual_seed(5)
        self.steps = 0
        self.on_train_epoch_end_saw: list[tuple[int, float]] = []

    def training_step(self, batch, batch_idx):
        inputs = batch[0] + 0.1 * torch.randn(batch[0].shape, generator=self.stream)
        logits = self(inputs)
        loss = cross_entropy(logits, batch[1])
        self.accuracy(logits, batch[1])
        self.losses.append(loss.detach())
        self.steps += 1
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log_dict({"train_accuracy": self.accuracy}, on_step=False, on_epoch=True)
        return {"loss": loss, "logits": logits}

    def on_train_epoch_end(self):
        self.on_train_epoch_end_saw.append((self.steps, float(torch.stack(self.losses).sum())))

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        if not self.scheduled:
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=3 * BATCHES)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * BATCH, seed=1), BATCH, shuffle=True, generator=self.order)


class Recorded(pl.Callback):
    """Records logged metrics, and the hooks of training steps with the number of steps done."""

    def __init__(self) -> None:
        self.hooks: list[tuple[str, int]] = []
        self.metrics: list[dict[str, float]] = []

    def on_before_zero_grad(self, trainer, *_):
        self.hooks.append(("zero_grad", trainer.global_step))

    def on_after_backward(self, trainer, *_):
        self.hooks.append(("backward", trainer.global_step))

    def on_before_optimizer_step(self, trainer, *_):
        self.hooks.append(("step", trainer.global_step))

    def on_train_batch_end(self, trainer, *_):
        self.hooks.append(("batch", trainer.global_step))
        self.metrics.append({name: float(value) for name, value in trainer.logged_metrics.items()})

    def on_train_epoch_end(self, trainer, *_):
        self.metrics.append({name: float(value) for name, value in trainer.callback_metrics.items()})


class Recording(Logger):
    """A logger that stores metrics in `rows`, by step."""

    name = version = ""

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_hyperparams(self, *args, **kwargs):
        """Ignore hyperparameters."""

    def log_metrics(self, metrics, step=None):
        self.rows.setdefault(step, {}).update(metrics)


class At(pl.Callback):
    """Call a function with the trainer once, after the given step, within an epoch or at its end."""

    def __init__(self, step: int, call) -> None:
        self.step, self.call = step, call

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step and not trainer.is_last_batch:
            self.call(trainer)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.global_step == self.step:
            self.call(trainer)


class Careless(pl.Callback):
    """Evaluates the test set without isolating its effects on training; a negative control."""

    def on_train_epoch_end(self, trainer, pl_module):
        for inputs, _ in pl_module.test_dataloader():
            pl_module.net(inputs)


def fit(task: pl.LightningModule, directory, *callbacks: pl.Callback, ckpt_path=None, data=None, **options):
    options = {"max_epochs": 3, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
               "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
               "default_root_dir": directory, "log_every_n_steps": 1, **options}  # fmt: skip
    trainer = pl.Trainer(callbacks=list(callbacks), **options)
    torch.manual_seed(3)
    trainer.fit(task, datamodule=data, ckpt_path=ckpt_path)
    return trainer


def weights(task: pl.LightningModule) -> torch.Tensor:
    """Parameters and running averages of batch normalization, as one vector."""
    return torch.cat([value.ravel().double() for value in task.state_dict().values()])
