"""A learning rate range test before training, after which the state of training is restored."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.callbacks.evaluation import task_of
from start_training.callbacks.progress import bar_of
from start_training.callbacks.trial_updates import TrialUpdates, check_updates, interruptible, undone_updates
from start_training.callbacks.validation_subset import Validation, check_validates, validation_of
from start_training.ranks import gather
from start_training.runs.table import Table
from start_training.schedules.ramp import ramp_rates
from start_training.schedules.rates.gain import Gain, reached
from start_training.schedules.rates.range_plan import Ramp, at_most, fine_ramps, first_ramp, in_words, placed_at
from start_training.schedules.rates.range_table import COLUMNS, columns_of, score_column
from start_training.schedules.rates.rate_advice import advice, described, in_short
from start_training.schedules.rates.rate_suggestion import Suggestion, decide, suggest
from start_training.settings import AtLeast, PositiveInteger, checked
from start_training.stop_signals import Interrupted, deferred, received
from start_training.tasks.classification import Classification
from start_training.tasks.merit import Merit
from start_training.tasks.task import Task

NAME = "range_test"
RISEN = 2.0  # multiple of the first training loss above which the first update has raised the loss: too large a rate


class RangeTest(pl.Callback):
    """Run a learning rate range test: `steps` updates at rates that rise from min_lr to max_lr, before training.

    An adaptive test divides its updates between ramps from the initial weights, which end once what they gained is
    lost: a coarse one from min_lr to max_lr, and one or two finer ones with the updates that are left, over 6.5 octaves
    around the rate at which the first got worse. It has at most 20 epochs if that is more than 200 updates, since a net
    that overfits gets worse at any rate. The suggestion is their weighted mean, see `suggest` and `decide`.
    A ramp ends early if a loss is not finite. Afterwards weights, optimizer and random streams are restored (see
    `undone_updates`), so that the run is bit-identical to one without this callback. A run that resumes does not
    repeat the test. Rank 0 writes the curves as the Parquet table `range_test/` to the trainer's `default_root_dir`.
    The test needs memory for a copy of weights and optimizer state.

    The module needs automatic optimization, one optimizer and validation batches. If it states a `Task` as its
    attribute `task`, the loss and the score of the outputs of `forward` are validated; if `forward` returns logits for
    class numbers, cross-entropy and accuracy; else the loss of its own `validation_step`, see `OwnLoss`. Its
    `on_train_start` is called after the test.
    Source: Smith 2018 (arXiv:1803.09820), the LR range test.

    Args:
        min_lr: The first learning rate.
        max_lr: The last learning rate.
        steps: The largest number of updates, of all ramps together.
        ramp: `exponential` (equal ratios of consecutive rates) or `linear` (equal differences).
        val_points: The number of validations, of all ramps together, after evenly spaced updates of each.
        val_samples: The number of samples of the validation set to use.
        stop: Whether to end the run after the test, without training.
        loss: A function of outputs and targets that returns the mean loss of the validation; None: see above.
        adaptive: Whether a coarse ramp finds the range of finer ones, unless `ramp` is linear or of few octaves.

    Attributes:
        curves: A table with a row for each update: step, learning_rate, train_loss (before the update, mean over the
            global batch), val_loss and val_accuracy (after the update; NaN if it was not validated); for another
            task val_accuracy is NaN, and its score, if any, a further column, as val_r2. None before the test.
        ramps: The tables of all ramps; empty before the test, and in a run that resumed after it.
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
        >>> len(callback.ramps), callback.summary()["range_test"]["updates"] <= 50, callback.suggestion.turned
        (2, True, True)
    """

    tested_after_stop = False

    @checked
    def __init__(
        self,
        *,
        min_lr: float = 1e-5,
        max_lr: float = 10.0,
        steps: int = 600,
        ramp: str = "exponential",
        val_points: Annotated[int, AtLeast(2)] = 150,
        val_samples: PositiveInteger = 1000,
        stop: bool = False,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        adaptive: bool = True,
    ) -> None:
        ramp_rates(steps, min_lr=min_lr, max_lr=max_lr, ramp=ramp)  # checks them
        if val_points > steps:
            raise ValueError(f"val_points = {val_points}: must be at most steps = {steps}")
        self.val_samples = val_samples
        self._settings: dict[str, Any] = {"min_lr": min_lr, "max_lr": max_lr, "steps": steps, "ramp": ramp}
        self._settings |= {"val_points": val_points, "val_samples": val_samples, "adaptive": adaptive}
        self.stop = stop
        self.loss = loss
        self.curves: pd.DataFrame | None = None
        self.ramps: list[pd.DataFrame] = []
        self.suggestion: Suggestion | None = None
        self._made: dict[str, Any] = {}  # what was done and found, besides the curves
        self._task: Task | None = None  # of the module, once it is known

    def summary(self) -> dict[str, Any]:
        """Return the suggested rates and extremes of the curves; {} before the test."""
        if self.curves is None or self.suggestion is None:
            return {}
        made = {"ramp": self._settings["ramp"], "updates": self._made.get("updates", len(self.curves))}
        return {NAME: {**described(self.suggestion, self.curves), **made}}

    def sentence(self, summary: Mapping[str, Any], *, short: bool = False) -> str:
        test = summary.get(NAME)
        return "" if test is None else in_short(test) if short else advice(test)

    def stop_reason(self) -> str | None:
        return "range test completed; not trained, since stop = true" if self.stop and self.suggestion else None

    def check_settings(self, datamodule: Any) -> None:
        check_validates(datamodule)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.curves, self.ramps, self.suggestion, self._made = None, [], None, {}  # of an earlier fit
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
            check_updates(trainer, pl_module, NAME, ends=self.stop)
            with deferred():
                self._test(trainer, pl_module)
        if trainer.is_global_zero and self.curves is not None:
            table = Table(Path(trainer.default_root_dir) / NAME)
            table.truncate(0)
            table.append(self.curves)
        trainer.should_stop = trainer.should_stop or self.stop

    def _test(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.ramps = []
        share = self._settings["val_points"] / self._settings["steps"]
        steps = at_most(self._settings["steps"], trainer.num_training_batches, adaptive=self._settings["adaptive"])
        limits = (self._settings[name] for name in ("min_lr", "max_lr", "ramp"))
        first = first_ramp(steps, round(steps * share), *limits, adaptive=self._settings["adaptive"])
        validation = self._ramp(trainer, module, first)
        curves = coarse = self.ramps[0]
        if first.adaptive:
            left = steps - len(coarse)
            points = round(left * share)
            for ramp in fine_ramps(placed_at(coarse, Gain.in_ramp(coarse, **self._base)), left, points):
                self._ramp(trainer, module, ramp, validation)
            number, others = decide(self.ramps, samples=self._made["samples"], **self._base)
            self._made |= {"others": others, "done": in_words(coarse, self.ramps[1:])}
            curves = self.ramps[number]
        self._made |= {"updates": sum(map(len, self.ramps)), "chance": self._base["chance"]}
        self._conclude(curves)

    def _ramp(
        self, trainer: pl.Trainer, module: pl.LightningModule, ramp: Ramp, known: Validation | None = None
    ) -> Validation:
        """Make a ramp on batches that no other ramp has used, and append its table to `ramps`."""
        bar = bar_of(trainer)
        with undone_updates(trainer, module) as trial, interruptible(trainer):
            validation = known or validation_of(trainer, module, self.val_samples, self.loss)
            if known is None:
                chance = validation.chance_loss(self._task or Classification(), self.loss)
                self._made = {"samples": validation.samples, "chance": chance}
            trial.skip(sum(map(len, self.ramps)))
            rows = [*bar(self._rows(trial, validation, ramp), len(ramp.rates))]
        self.ramps.append(pd.DataFrame(rows, columns=[*columns_of(self._merit)]))
        return validation

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
                seen.append((rate, val_loss, score))
                self._made.setdefault("start", [mean if val_loss > RISEN * mean > 0 else val_loss, score])
            other = () if len(columns_of(self._merit)) == len(COLUMNS) else (math.nan,)
            yield step, rate, mean, val_loss, *other, score
            if not math.isfinite(mean) or math.isinf(val_loss) or (ramp.adaptive and self._is_lost(*seen)):
                return

    def _is_lost(self, *seen: tuple[float, float, float]) -> bool:
        """Return whether a ramp with these validations (rate, loss, score) need not go on."""
        return Gain.of(*np.array(seen).T, **self._base).is_lost()

    @property
    def _base(self) -> dict[str, Any]:
        """What the gain of a ramp is measured from."""
        start = self._made.get("start", [math.nan, math.nan])
        chance = reached(self._made["chance"], self.ramps, self._merit)
        return {"merit": self._merit, "chance": chance, "start": start}

    def _conclude(self, curves: pd.DataFrame) -> None:
        self.curves = curves
        suggestion, done = self._suggest(curves), self._made.get("done")
        self.suggestion = replace(suggestion, rule=f"{suggestion.rule} ({done})") if done else suggestion

    def _suggest(self, curves: pd.DataFrame) -> Suggestion:
        known = {name: self._made[name] for name in ("chance", "samples", "start", "others") if name in self._made}
        return suggest(curves, merit=self._merit, **known)

    @property
    def _merit(self) -> Merit:
        if self._task is not None:
            return self._task.merit
        column = "val_accuracy" if self.curves is None else score_column(self.curves)
        return Merit(column.removeprefix("val_"))
