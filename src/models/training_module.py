"""The LightningModule that trains a net of this project or of the user for a task."""

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from start_training.models.run_length import check_same_length, required_lengths, run_length
from start_training.ranks import gather
from start_training.tasks.task import Task


class TrainingModule(pl.LightningModule):
    """A LightningModule that trains a net by the loss of a task, and logs the loss and the task's score.

    A batch is (inputs, targets) or (inputs, targets, weight). The loss is multiplied by the weight, so that the mean
    over ranks is the mean over the global batch even if the ranks have different numbers of samples.

    Args:
        net: Module from inputs (samples, …) to outputs (samples, outputs).
        optimizer: A function from parameters to an optimizer.
        task: The loss and the score.
        schedule: A function from the optimizer to a torch learning-rate scheduler, which is stepped after every
            optimizer step. If the function has parameters `total_steps` or `steps_per_epoch`, it gets those of the run.
        seed: Seed of torch's global generator during training, together with epoch and rank.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        *,
        task: Task,
        schedule: Callable[..., Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.net = net
        self.seed = seed
        self.task = task
        if isinstance(task.own_loss, nn.Module) and task.own_loss.state_dict():
            self.task_loss = task.own_loss  # so that its tensors move to the device of the net
        self._optimizer = optimizer
        self._schedule = schedule
        self.metrics = nn.ModuleDict(
            {
                f"{stage}_{name}": metric
                for stage in ("val", "test")
                for name, metric in (
                    # A NaN loss must make the mean NaN. With "disable" torchmetrics 1.9 would ignore the weights.
                    ("loss", MeanMetric(nan_strategy=math.nan)),
                    (task.merit.score, task.metric()),
                )
            }
        )
        self._losses: list[Tensor] = []  # losses of this epoch's batches, multiplied by their weights
        self._samples: list[float] = []  # size of each global batch, divided by the number of ranks
        self._random_state: Tensor | None = None
        self._resumed_schedule: dict[str, Any] = {}  # state of the schedule in the checkpoint
        self._learning_rate: float | None = None  # learning rate of the last step

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this attribute forty times per step. Skipping nn.Module's check whether the value is a
        # parameter, a module or a buffer saves 50 µs per step.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets, weight = _parts(batch)
        loss = self.task.loss(self.net(inputs), targets)
        if weight != 1:
            loss = loss * weight
        self._losses.append(loss.detach())
        self._samples.append(len(targets) / weight)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("test", batch)

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.parameters())
        if self._schedule is None:
            return optimizer
        required = required_lengths(self._schedule)
        lengths = run_length(self.trainer) if required else {}
        schedule = self._schedule(optimizer, **{name: lengths[name] for name in required})
        check_same_length(self._resumed_schedule, schedule.state_dict(), type(schedule).__name__)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self._learning_rate = float(optimizer.param_groups[0]["lr"])

    def on_train_start(self) -> None:
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)

    def on_train_epoch_start(self) -> None:
        # Makes dropout a function of (seed, epoch, rank), as the batch order is; dropout uses the global generator.
        begin_epoch(self.trainer, self.seed, resumed=self._random_state is not None)
        self._random_state = None

    def on_train_epoch_end(self) -> None:
        check_not_empty(self.trainer)
        samples = torch.tensor(self._samples, dtype=torch.float64)
        losses = torch.stack(self._losses).double().cpu()
        mean = ((losses * samples).sum() / samples.sum()).float().to(self.device)
        loss = self.trainer.strategy.reduce(mean, reduce_op="mean")
        self._losses, self._samples = [], []
        self.log("train/loss", loss, logger=False, sync_dist=True)  # the same on all ranks
        row = {"epoch": self.current_epoch, "train/loss": float(loss)}
        if self._learning_rate is not None:
            row["learning_rate"] = self._learning_rate
        # Lightning would log after writing the checkpoint, and a kill in between would lose the row.
        for logger in self.loggers:
            logger.log_metrics(row, step=self.global_step - 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # These entries let a run resume in mid-epoch. All ranks must call this method, as `gather` is a collective.
        checkpoint["random_states"] = gather(torch.get_rng_state().to(self.device)).cpu()
        checkpoint["epoch_losses"] = [float(loss) for loss in self._losses]
        checkpoint["epoch_samples"] = list(self._samples)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        [self._resumed_schedule] = checkpoint.get("lr_schedulers") or [{}]
        states = checkpoint["random_states"]
        if len(states) == self.trainer.world_size:
            self._random_state = states[self.global_rank].clone()  # set_rng_state crashes on a view of a larger tensor
        losses = torch.tensor(checkpoint["epoch_losses"], dtype=cast(torch.dtype, self.dtype), device=self.device)
        self._losses = list(losses.unbind())
        self._samples = list(checkpoint["epoch_samples"])

    def _evaluate(self, stage: str, batch: Any) -> None:
        inputs, targets, _ = _parts(batch)
        outputs = self.net(inputs)
        loss, score = (cast(Metric, self.metrics[f"{stage}_{name}"]) for name in ("loss", self.task.merit.score))
        loss.update(self.task.loss(outputs, targets), weight=len(targets))
        score.update(outputs, targets)
        self.log(f"{stage}/loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        self.log(self.task.merit.metric(stage), score, on_step=False, on_epoch=True, batch_size=len(targets))


def _parts(batch: Any) -> tuple[Tensor, Tensor, float]:
    """Return inputs, targets and weight of a batch.

    Raises:
        ValueError: the batch is neither (inputs, targets) nor (inputs, targets, weight).
    """
    if isinstance(batch, tuple | list):
        if len(batch) == 2:
            return batch[0], batch[1], 1.0
        if len(batch) == 3 and isinstance(batch[2], float | int):
            return batch[0], batch[1], batch[2]
    kinds = [type(part).__name__ for part in batch] if isinstance(batch, tuple | list) else type(batch).__name__
    raise ValueError(
        f"datamodule: yields batches of {kinds}; must yield (inputs, targets), or be trained by a LightningModule of "
        "your own, task._target_=…"
    )


def begin_epoch(trainer: pl.Trainer, seed: int, *, resumed: bool) -> None:
    """Seed torch's global generator for an epoch, from which loaders of torch draw the order of their samples.

    Args:
        trainer: The Trainer whose epoch begins.
        seed: The seed of the run.
        resumed: Whether the run has resumed before this epoch: Lightning has then begun the loaders already, with
            another state of the generator, so they begin again.
    """
    torch.manual_seed(epoch_seed(seed, trainer.current_epoch, trainer.global_rank))
    if resumed and trainer.fit_loop._data_fetcher is not None:
        iter(trainer.fit_loop._data_fetcher)


def check_not_empty(trainer: pl.Trainer) -> None:
    """Raise ValueError at the end of an epoch without batches, as of an iterator that an earlier epoch has used up."""
    if not trainer.fit_loop.epoch_loop.batch_progress.current.ready:
        raise ValueError(
            f"datamodule = {type(getattr(trainer, 'datamodule', None)).__name__}: its training loader has no batch in "
            f"epoch {trainer.current_epoch + 1}; must yield batches each time that it is iterated over"
        )


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Compute the seed of torch's global generator for one epoch and rank of a run."""
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0])
