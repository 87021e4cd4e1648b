"""The LightningModule that trains any net, of this project or of the user, to classify."""

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from start_training.models.run_length import asked_lengths, check_same_length, run_length
from start_training.ranks import gather


class Classifier(pl.LightningModule):
    """Cross-entropy loss, accuracy, an optimizer and perhaps a schedule.

    A batch is (inputs, targets) or (inputs, targets, weight). The loss is multiplied by the weight, so that the
    mean over ranks is the mean over the global batch where the ranks' shares differ in size.

    Args:
        net: From (samples, …) to logits (samples, classes).
        optimizer: A function from parameters to an optimizer.
        classes: Number of classes.
        schedule: A function from the optimizer to a torch learning-rate scheduler, which is stepped at every optimizer
            step. If it has parameters `total_steps` or `steps_per_epoch`, it is called with those of the run.
        seed: Determines, with epoch and rank, the global random generator during training.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        *,
        classes: int,
        schedule: Callable[..., Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.net = net
        self.seed = seed
        self._optimizer = optimizer
        self._schedule = schedule
        self.metrics = nn.ModuleDict(
            {
                f"{stage}_{name}": metric
                for stage in ("val", "test")
                for name, metric in (
                    # NaN is a result and must count; with "disable", torchmetrics 1.9 would ignore the weights.
                    ("loss", MeanMetric(nan_strategy=math.nan)),
                    ("accuracy", MulticlassAccuracy(classes, average="micro")),
                )
            }
        )
        self._losses: list[Tensor] = []  # of this epoch's batches, multiplied by their weights
        self._samples: list[float] = []  # size of each global batch, divided by the number of ranks
        self._random_state: Tensor | None = None
        self._resumed_schedule: dict[str, Any] = {}  # its state in the checkpoint
        self._learning_rate: float | None = None  # at the last step

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this attribute forty times a step, and each time Module would check whether the value is a
        # parameter, a module or a buffer: 50 µs a step.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets, *rest = batch
        weight = rest[0] if rest else 1.0
        loss = cross_entropy(self.net(inputs), targets)
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
        asked = asked_lengths(self._schedule)
        lengths = run_length(self.trainer) if asked else {}
        schedule = self._schedule(optimizer, **{name: lengths[name] for name in asked})
        check_same_length(self._resumed_schedule, schedule.state_dict(), type(schedule).__name__)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self._learning_rate = float(optimizer.param_groups[0]["lr"])

    def on_train_start(self) -> None:
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)

    def on_train_epoch_start(self) -> None:
        # Makes dropout, which draws from the global generator, a function of (seed, epoch, rank), like the batch order.
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch, self.global_rank))

    def on_train_epoch_end(self) -> None:
        samples = torch.tensor(self._samples, dtype=torch.float64)
        losses = torch.stack(self._losses).double().cpu()
        mean = ((losses * samples).sum() / samples.sum()).float().to(self.device)
        loss = self.trainer.strategy.reduce(mean, reduce_op="mean")
        self._losses, self._samples = [], []
        self.log("train/loss", loss, logger=False, sync_dist=True)  # the same on all ranks
        row = {"epoch": self.current_epoch, "train/loss": float(loss)}
        if self._learning_rate is not None:
            row["learning_rate"] = self._learning_rate
        # Lightning logs after it has written the checkpoint: a kill in between would lose the row.
        for logger in self.loggers:
            logger.log_metrics(row, step=self.global_step - 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # For runs that resume in mid-epoch. All ranks must call this, as `gather` is a collective.
        checkpoint["random_states"] = gather(torch.get_rng_state().to(self.device)).cpu()
        checkpoint["epoch_losses"] = [float(loss) for loss in self._losses]
        checkpoint["epoch_samples"] = list(self._samples)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        [self._resumed_schedule] = checkpoint.get("lr_schedulers") or [{}]
        states = checkpoint["random_states"]
        if len(states) == self.trainer.world_size:
            self._random_state = states[self.global_rank].clone()  # torch crashes on a row of a larger tensor
        losses = torch.tensor(checkpoint["epoch_losses"], dtype=cast(torch.dtype, self.dtype), device=self.device)
        self._losses = list(losses.unbind())
        self._samples = list(checkpoint["epoch_samples"])

    def _evaluate(self, stage: str, batch: Any) -> None:
        inputs, targets, *_ = batch
        logits = self.net(inputs)
        loss, accuracy = (cast(Metric, self.metrics[f"{stage}_{name}"]) for name in ("loss", "accuracy"))
        loss.update(cross_entropy(logits, targets), weight=len(targets))
        accuracy.update(logits, targets)
        self.log(f"{stage}/loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        self.log(f"{stage}/accuracy", accuracy, on_step=False, on_epoch=True, batch_size=len(targets))


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """The seed of the global random generator in an epoch of a run, on one of its ranks."""
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0])
