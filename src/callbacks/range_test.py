"""A learning rate range test before training, after which the state of training is restored."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.callbacks.evaluation import task_of
from start_training.callbacks.trial_updates import TrialUpdates, check_updates, interruptible, undone_updates
from start_training.callbacks.validation_subset import Validation, check_validates, validation_of
from start_training.ranks import gather
from start_training.runs.table import Table
from start_training.schedules.ramp import ramp_rates
from start_training.schedules.range_plan import Ramp, fine_ramp, first_ramp, is_lost, placed, where_lost
from start_training.schedules.rate_advice import advice, described, in_short
from start_training.schedules.rate_suggestion import (
    COLUMNS,
    SAFETY,
    Suggestion,
    columns_of,
    score_column,
    suggest,
    validated,
)
from start_training.settings import AtLeast, PositiveInteger, checked
from start_training.stop_signals import Interrupted, deferred, received
from start_training.tasks.classification import Classification
from start_training.tasks.merit import Merit
from start_training.tasks.task import Task

NAME = "range_test"


class RangeTest(pl.Callback):
    """Run a learning rate range test: `steps` updates at rates that rise from min_lr to max_lr, before training.

    An adaptive test divides its updates between two ramps, each from the initial weights: a coarse one from min_lr to
    max_lr, which ends once the loss is far above its first value, and a fine one with the updates that are left, from
    a sixteenth of the rate at which the first got worse to four times that rate, or further up to eleven times until it
    gets worse. The curves are those of the fine one.
    A ramp ends early if a loss is not finite. Afterwards weights, optimizer and random streams are restored (see
    `undone_updates`), so that the run is bit-identical to one without this callback. A run that resumes does not
    repeat the test. Rank 0 writes the curves as the Parquet table `range_test/` to the trainer's `default_root_dir`.
    The test needs memory for a copy of the weights and of the optimizer state.

    The module needs automatic optimization, one optimizer and validation batches. If it states a `Task` as its
    attribute `task`, the loss and the score of the outputs of `forward` are validated; if `forward` returns logits for
    class numbers, cross-entropy and accuracy; else the loss that its own `validation_step` returns or logs, see
    `OwnLoss`. Its `on_train_start` is called after the test.
    Source: Smith 2018 (arXiv:1803.09820), the LR range test.

    Args:
        min_lr: The first learning rate.
        max_lr: The last learning rate.
        steps: The number of updates, of both ramps together.
        ramp: `exponential` (equal ratios of consecutive rates) or `linear` (equal differences).
        val_points: The number of validations, of both ramps together, after evenly spaced updates of each.
        val_samples: The number of samples of the validation set to use.
        stop: Whether to end the run after the test, without training.
        loss: A function of outputs and targets that returns the mean loss of the validation; None: see above.
        adaptive: Whether a coarse ramp finds the range of a fine one, unless `ramp` is linear or of few octaves.

    Attributes:
        curves: A table with a row for each update: step, learning_rate, train_loss (before the update, mean over the
            global batch), val_loss and val_accuracy (after the update; NaN if it was not validated); for another
            task val_accuracy is NaN, and its score, if any, a further column, as val_r2. None before the test.
        coarse: The table of the coarse ramp; None without one, and in a run that resumed after the test.
        suggestion: The suggested learning rates, a `Suggestion`; None before the test.

    Raises:
        ValueError: a setting is not allowed, the module does not meet the conditions above, or there is no validation
            data.

    Example:
        >>> import tempfile
        >>> from functools import partial
        >>> from torch.optim import SGD
        >>> from start_training.datamodules.digits import Digits
        >>> from start_training.models.classifier import Classifier
        >>> from start_training.models.fully_connected import FullyConnected
        >>> net = FullyConnected(64, 10, depth=2, width=20)
        >>> module = Classifier(net, partial(SGD, lr=0.1), classes=10)
        >>> callback = RangeTest(max_lr=1.0, steps=50, val_points=25, stop=True)
        >>> trainer = pl.Trainer(
        ...     max_epochs=1, callbacks=[callback], default_root_dir=tempfile.mkdtemp(), logger=False,
        ...     enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ... )
        >>> trainer.fit(module, Digits())
        >>> len(callback.coarse) + len(callback.curves), callback.suggestion.turned
        (50, True)
    """

    tested_after_stop = False

    @checked
    def __init__(
        self,
        *,
        min_lr: float = 1e-5,
        max_lr: float = 10.0,
        steps: int = 200,
        ramp: str = "exponential",
        val_points: Annotated[int, AtLeast(2)] = 100,
        val_samples: PositiveInteger = 1000,
        stop: bool = False,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        adaptive: bool = True,
    ) -> None:
        ramp_rates(steps, min_lr=min_lr, max_lr=max_lr, ramp=ramp)  # checks them
        if val_points > steps:
            raise ValueError(f"val_points = {val_points}: must be at most steps = {steps}")
        self._first = first_ramp(steps, val_points, min_lr, max_lr, ramp, adaptive=adaptive)
        self.val_samples = val_samples
        self._settings = {"min_lr": min_lr, "max_lr": max_lr, "steps": steps, "ramp": ramp}
        self._settings |= {"val_points": val_points, "val_samples": val_samples, "adaptive": adaptive}
        self.stop = stop
        self.loss = loss
        self.curves: pd.DataFrame | None = None
        self.coarse: pd.DataFrame | None = None
        self.suggestion: Suggestion | None = None
        self._made: dict[str, Any] = {}  # what was done and found, besides the curves
        self._task: Task | None = None  # of the module, once it is known

    def summary(self) -> dict[str, Any]:
        """Return the suggested rates and extremes of the curves; {} before the test."""
        if self.curves is None or self.suggestion is None:
            return {}
        made = {key: self._made[key] for key in ("updates", "samples") if key in self._made}
        return {NAME: {**described(self.suggestion, self.curves), "ramp": self._settings["ramp"], **made}}

    def sentence(self, summary: Mapping[str, Any], *, short: bool = False) -> str:
        test = summary.get(NAME)
        return "" if test is None else in_short(test) if short else advice(test)

    def stop_reason(self) -> str | None:
        ended = self.stop and self.suggestion is not None
        return "range test completed; not trained, since stop = true" if ended else None

    def check_settings(self, datamodule: Any) -> None:
        check_validates(datamodule)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.curves = self.coarse = self.suggestion = None  # of an earlier fit
            self._made = {}
            self._task = task = task_of(pl_module)
            if task.outputs is None:
                task.outputs = task.outputs_of(getattr(trainer, "datamodule", None))

    def state_dict(self) -> dict[str, Any]:
        if self.curves is None:
            return {}
        curves = {str(name): torch.tensor(self.curves[name].to_numpy()) for name in self.curves}
        return {"settings": dict(self._settings), "curves": curves, "made": dict(self._made)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        settings = {"adaptive": False, **state_dict.get("settings", {})}  # as tests once were
        if settings == self._settings:  # the results are valid for the same settings only
            self._made = state_dict.get("made", {})
            self._conclude(pd.DataFrame({name: column.numpy() for name, column in state_dict["curves"].items()}))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.curves is None:
            check_updates(trainer, pl_module, NAME)
            _check_ends(trainer, self.stop)
            with deferred():
                self._test(trainer, pl_module)
        if trainer.is_global_zero and self.curves is not None:
            table = Table(Path(trainer.default_root_dir) / NAME)
            table.truncate(0)
            table.append(self.curves)
        trainer.should_stop = trainer.should_stop or self.stop

    def _test(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        curves, validation = self._ramp(trainer, module, self._first)
        chance = validation.chance_loss(self._task or Classification(), self.loss)
        self._made = {"updates": len(curves), "samples": validation.samples, "chance": chance}
        if self._first.coarse:
            first = self._suggest(curves)
            found = where_lost(curves, SAFETY * first.max_lr if first.turned else math.nan)
            left = self._settings["steps"] - len(curves)
            fine = fine_ramp(found, left, round(left * self._settings["val_points"] / self._settings["steps"]))
            self.coarse, self._made["placed"] = curves, placed(curves, found)
            seen = validated(curves, self._merit)[["val_loss", "score"]]
            self._made["start"] = seen.iloc[0].tolist() if len(seen) else None
            curves, _ = self._ramp(trainer, module, fine, validation)
            self._made["updates"] += len(curves)
            if not math.isfinite(self._suggest(curves).max_lr) and math.isfinite(first.max_lr):
                curves, self.coarse = self.coarse, curves  # the fine ramp was too short
                self._made["placed"] = "since a finer one with the updates that were left found nothing"
        self._conclude(curves)

    def _ramp(
        self, trainer: pl.Trainer, module: pl.LightningModule, ramp: Ramp, validation: Validation | None = None
    ) -> tuple[pd.DataFrame, Validation]:
        with undone_updates(trainer, module) as trial, interruptible(trainer):
            validation = validation or validation_of(trainer, module, self.val_samples, self.loss)
            rows = [*self._rows(trial, validation, ramp)]
        return pd.DataFrame(rows, columns=[*columns_of(self._merit)]), validation

    def _rows(self, trial: TrialUpdates, validation: Validation, ramp: Ramp) -> Iterator[tuple[float, ...]]:
        task, seen = self._task or Classification(), []
        for step, rate in enumerate(ramp.rates.tolist()):
            loss = trial.update(rate)
            losses, signums = gather(torch.stack([loss, loss.new_tensor(received())])).T.cpu()
            if signums.any():
                raise Interrupted(int(signums.max()), on_all_ranks=True)
            mean, val_loss, score = float(losses.mean()), math.nan, math.nan
            if math.isfinite(mean) and step in ramp.validated:
                val_loss, score = validation.evaluate(task, self.loss)
                val_loss = val_loss if math.isfinite(val_loss) else math.inf
                seen.append(val_loss)
            other = () if len(columns_of(self._merit)) == len(COLUMNS) else (math.nan,)
            yield step, rate, mean, val_loss, *other, score
            if not math.isfinite(mean) or math.isinf(val_loss) or (rate >= ramp.enough and seen and is_lost(seen)):
                return

    def _conclude(self, curves: pd.DataFrame) -> None:
        self.curves = curves
        suggestion = self._suggest(curves)
        if note := self._made.get("placed"):
            first, last = curves["learning_rate"].iloc[[0, -1]]
            made = f"{len(curves)} updates from {first:.2g} to {last:.2g}, {note}"
            suggestion = replace(suggestion, rule=f"{suggestion.rule} ({made})")
        self.suggestion = suggestion

    def _suggest(self, curves: pd.DataFrame) -> Suggestion:
        known = {name: self._made.get(name) for name in ("chance", "samples", "start")}
        return suggest(curves, merit=self._merit, **known)

    @property
    def _merit(self) -> Merit:
        if self._task is not None:
            return self._task.merit
        column = "val_accuracy" if self.curves is None else score_column(self.curves)
        return Merit(column.removeprefix("val_"))


def _check_ends(trainer: pl.Trainer, stop: bool) -> None:
    for setting, least in (("min_steps", trainer.min_steps), ("min_epochs", trainer.min_epochs)):
        if stop and least:
            raise ValueError(
                f"{setting} = {least}: must be left out with {NAME}.stop = true, which ends the run before training"
            )
