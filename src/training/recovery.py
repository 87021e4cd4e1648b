"""Watch a training run: after a collapse it goes on from a good state at half the rate, and it ends at its best."""

import math
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.models.own_loss import number_of_samples
from start_training.settings import NumberFromZero, OneOf, WholeNumber, checked
from start_training.tasks.merit import ACCURACY
from start_training.tasks.task import Task
from start_training.training.packed_state import packed, unpacked

NAME = "recovery"
WINDOWS = 40  # of a run, over which the training loss is averaged
LEAST_STEPS = 10  # of a window
MOST_STEPS = 40_000  # of a run, for the length of a window
RISEN = 2.0  # or has risen to this multiple of the first loss
LOST = 0.5  # a window whose loss has lost this share of what the best one had gained below chance has collapsed
SIGMAS = 2.0  # the end counts as worse than an earlier epoch if its accuracy is lower by this many standard errors
WORSE = 0.05  # for other scores, if the loss is higher by this fraction
State = dict[str, Any]


class Recovery(pl.Callback):
    """Return to the last good state at half the learning rate after a collapse, and end with the best weights.

    Training has collapsed if a loss is not finite, or if the mean loss over a fortieth of the run has lost half of what
    the best such mean had gained below the loss of guessing, or is far above the first loss. Then weights and optimizer
    get the state of two such windows earlier, or of the start, and all further rates are halved. The steps that were
    lost count.
    At the end, if validation is clearly worse than after an earlier epoch, the weights of that epoch are kept.
    Source: none; a run of Smith's 1cycle (arXiv:1803.09820) whose largest rate is too large often ends at chance.

    Args:
        monitor: The metric that says which epoch is best, unless the module is a classifier that logs its accuracy.
        mode: Whether `monitor` is better if smaller ("min") or larger ("max").
        restarts: Largest number of restarts; a run that collapses once more ends, with its best weights.
        factor: Factor of the rates after each restart.

    Attributes:
        restarted: What happened, for each restart: step, back_to (the step of the state), reason.
        kept: The epoch whose weights were kept at the end, with its validation metrics; {}: those of the last one.
    """

    @checked
    def __init__(
        self,
        *,
        monitor: str = "val/loss",
        mode: Annotated[str, OneOf(("min", "max"))] = "min",
        restarts: WholeNumber = 6,
        factor: NumberFromZero = 0.5,
    ) -> None:
        self.monitor, self.mode = monitor, mode
        self.restarts = restarts
        self.factor = factor
        self.restarted: list[dict[str, Any]] = []
        self.kept: dict[str, float] = {}
        self._good: list[State] = []  # states at the start, and at the end of the last two windows since a restart
        self._best: dict[str, Any] = {}  # value, epoch, weights and metrics of the best epoch
        self._validated = 0  # samples of a validation
        self._losses: list[Tensor] = []
        self._lowest = math.inf
        self._chance = math.nan
        self._first = math.nan
        self._scale = 1.0
        self._given_up = False

    def summary(self) -> dict[str, Any]:
        return {NAME: {"restarts": self.restarted, "kept": self.kept}}

    def stop_reason(self) -> str | None:
        return f"collapsed again after {self.restarts} restarts" if self._given_up else None

    def state_dict(self) -> dict[str, Any]:
        names = ("restarted", "_good", "_best", "_lowest", "_chance", "_first", "_scale", "_losses")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._window = max(LEAST_STEPS, int(min(trainer.estimated_stepping_batches, MOST_STEPS)) // WINDOWS)
        self._base = [list(getattr(config.scheduler, "base_lrs", [])) for config in trainer.lr_scheduler_configs]
        self._set_rates(trainer)  # of a run that resumes
        if not self._good:
            self._good = [_state(trainer, pl_module)]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is None or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        loss = loss.detach().float() * trainer.accumulate_grad_batches
        if math.isnan(self._first):
            self._first, self._chance = float(loss), min(float(loss), _chance_loss(pl_module, batch))
        self._losses.append(loss)
        if len(self._losses) < self._window:
            return
        mean, self._losses = float(torch.stack(self._losses).mean()), []
        if not math.isfinite(mean):
            return  # that is for `recover`
        limit = self._lowest + LOST * (self._chance - self._lowest)
        if (self._lowest < self._chance and mean > limit) or mean > RISEN * max(self._first, self._chance) > 0:
            self._go_back(trainer, pl_module, f"the training loss rose to {mean:.3g}")
            return
        self._lowest = min(self._lowest, mean)
        self._good = [self._good[0], *self._good[1:][-1:], _state(trainer, pl_module)]

    def recover(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        """Go back after a loss that is not finite; return False if the restarts are used up and nothing was learned."""
        return self._go_back(trainer, pl_module, "the training loss was not finite")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._validated += number_of_samples(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = _metrics(trainer)
        value = metrics.get(self._name(metrics), math.nan)
        if math.isfinite(value) and (not self._best or self._sign(metrics) * (value - self._best["value"]) > 0):
            weights = packed(pl_module.state_dict())
            self._best = {"value": value, "epoch": trainer.current_epoch, "weights": weights, "metrics": metrics}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs or trainer.should_stop
        if last and self._best and not self._given_up and self._is_worse(_metrics(trainer)):
            _load(pl_module, unpacked(self._best["weights"]))
            self.kept = {"epoch": self._best["epoch"] + 1, **self._best["metrics"]}

    def _name(self, metrics: dict[str, float]) -> str:
        """Return the metric that decides: the validation accuracy, or else `monitor`."""
        return ACCURACY.metric("val") if ACCURACY.metric("val") in metrics else self.monitor

    def _sign(self, metrics: dict[str, float]) -> int:
        return 1 if self._name(metrics) == ACCURACY.metric("val") or self.mode == "max" else -1

    def _is_worse(self, metrics: dict[str, float]) -> bool:
        """Return whether these metrics of the end are clearly worse than the best ones."""
        name, best, samples = self._name(metrics), self._best["value"], max(1, self._validated)
        error = math.sqrt(max(best * (1 - best), 1 / samples) / samples) if name == ACCURACY.metric("val") else 0.0
        margin = SIGMAS * error or WORSE * abs(best)
        return not self._sign(metrics) * (metrics.get(name, math.nan) - best) >= -margin

    def _go_back(self, trainer: pl.Trainer, module: pl.LightningModule, reason: str) -> bool:
        self._given_up = len(self.restarted) >= self.restarts
        if self._given_up:
            if self._best:
                _load(module, unpacked(self._best["weights"]))
                self.kept = {"epoch": self._best["epoch"] + 1, **self._best["metrics"]}
                trainer.should_stop = True
            return bool(self._best)
        state = self._good[1] if len(self._good) > 2 else self._good[0]
        self._good, self._losses, self._lowest = [self._good[0]], [], math.inf
        weights, optimizers = unpacked(state["packed"])
        _load(module, weights)
        for optimizer, its_state in zip(trainer.optimizers, optimizers, strict=True):
            rates = [group["lr"] for group in optimizer.param_groups]  # of the next step
            optimizer.load_state_dict(its_state)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = self.factor * rate
        self._scale *= self.factor
        self._set_rates(trainer)
        self.restarted.append({"step": trainer.global_step, "back_to": state["step"], "reason": reason})
        return True

    def _set_rates(self, trainer: pl.Trainer) -> None:
        for config, rates in zip(trainer.lr_scheduler_configs, self._base, strict=True):
            if rates:
                config.scheduler.base_lrs = [self._scale * rate for rate in rates]


def _state(trainer: pl.Trainer, module: pl.LightningModule) -> State:
    state = (module.state_dict(), [one.state_dict() for one in trainer.optimizers])
    return {"step": trainer.global_step, "packed": packed(state)}


def _load(module: pl.LightningModule, weights: State) -> None:
    state = module.state_dict()  # with the versions of its parts
    state.update(weights)
    module.load_state_dict(state)


def _metrics(trainer: pl.Trainer) -> dict[str, float]:
    """Return the newest metrics, without those of the training."""
    metrics = trainer.callback_metrics.items()
    return {name: float(value) for name, value in metrics if not name.startswith("train")}


def _chance_loss(module: pl.LightningModule, batch: Any) -> float:
    """Return the loss of a net that has learned nothing; infinite if it is not known."""
    task = getattr(module, "task", None)
    known = task.chance_loss_of(batch[1]) if isinstance(task, Task) else None
    return math.inf if known is None else known
