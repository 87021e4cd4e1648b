"""Modules for tests of the range test, and how they are fitted."""

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

BATCHES, BATCH, VALIDATION = 6, 16, 50
TEST = {"min_lr": 1e-3, "max_lr": 1.0, "steps": 20, "val_points": 7, "val_samples": 30}


def samples(count: int, seed: int) -> TensorDataset:
    """Three classes that a net can learn to tell apart."""
    inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, inputs[:, :3].argmax(1))


class Plain(pl.LightningModule):
    """Batches in order and nothing drawn, so that a test can do the same by hand."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * BATCH, seed=1), BATCH)

    def val_dataloader(self):
        return DataLoader(samples(VALIDATION, seed=2), 20)


class Busy(Plain):
    """Somebody's module: much in it draws, counts, keeps averages or logs."""

    def __init__(self, optimizer: str = "sgd") -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16), nn.ReLU(),
            nn.Linear(16, 3),
        )  # fmt: skip
        self.optimizer = optimizer
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
        if self.optimizer == "adamw":
            return torch.optim.AdamW(self.parameters(), lr=0.01)
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        if self.optimizer == "sgd":
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=3 * BATCHES)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * BATCH, seed=1), BATCH, shuffle=True, generator=self.order)


class Recorded(pl.Callback):
    """What the trainer logged, and which hooks of a training step it called with how many steps taken."""

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


def fit(task: pl.LightningModule, directory, *callbacks: pl.Callback, ckpt_path=None, seed=3, **options) -> pl.Trainer:
    options = {"max_epochs": 3, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
               "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
               "default_root_dir": directory, "log_every_n_steps": 1, **options}  # fmt: skip
    trainer = pl.Trainer(callbacks=list(callbacks), **options)
    torch.manual_seed(seed)
    trainer.fit(task, ckpt_path=ckpt_path)
    return trainer


def weights(task: pl.LightningModule) -> torch.Tensor:
    """Parameters, and the averages of batch norm."""
    return torch.cat([value.ravel().double() for value in task.state_dict().values()])
