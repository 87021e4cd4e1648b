"""Record the epoch and step at which test accuracy reaches a threshold, the start of training."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import pytorch_lightning as pl

from start_training.annotations import check_type
from start_training.callbacks.contracts import GroupCallback, GroupMoment, GroupRun
from start_training.callbacks.evaluation import check_test_set, task_of, test_loaders, test_means
from start_training.callbacks.position import crosses
from start_training.settings import PositiveInteger, PositiveNumber, checked, fraction
from start_training.tasks.merit import ACCURACY, label_of, text_of

NAME = "start_of_training"
NO_TEST_SET = "start_of_training: the data has no test set; this callback needs one to measure test accuracy"
ShareAboveZero = Annotated[PositiveNumber, fraction]


class StartOfTraining(pl.Callback, GroupCallback):
    """Record the epoch and step at which training starts: when test accuracy first reaches `threshold`.

    Test accuracy is computed from `forward`'s logits (samples, classes) on the batches (inputs, targets, …) of the
    `test_dataloader` of the datamodule, or of the module if there is no datamodule; logits that are not finite count
    as wrong. It is computed at the end of every epoch, or after every n-th step, until training has started. Until it
    is stopped, the run is bit-identical to one without this callback. For a module whose attribute `task` is another
    `Task`, its score takes the place of accuracy, such as R² of a regression.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), figures 1b and 3: epochs until 20% test accuracy.

    Args:
        threshold: The test accuracy, or other score, at which training counts as started, above 0 and below 1.
        every_n_steps: Evaluate after every n-th step instead of after every epoch.
        stop: Whether to end the run when training has started, even within an epoch.

    Attributes:
        epoch: The epoch in which training started, counted from 1; None before.
        step: The number of optimizer steps after which training started; None before.
        accuracy: The test accuracy, or other score, at that step; before, the highest so far, or None before the first
            evaluation.

    Raises:
        ValueError: a setting is not allowed, or there is no test set.

    Example:
        >>> from functools import partial
        >>> from torch.optim import SGD
        >>> from start_training.datamodules.digits import Digits
        >>> from start_training.models.classifier import Classifier
        >>> from start_training.models.fully_connected import FullyConnected
        >>> net = FullyConnected(64, 10, depth=2, width=20)
        >>> module = Classifier(net, partial(SGD, lr=0.1), classes=10)
        >>> callback = StartOfTraining(threshold=0.2, stop=True)
        >>> trainer = pl.Trainer(
        ...     max_epochs=20, callbacks=[callback], logger=False, enable_checkpointing=False,
        ...     enable_progress_bar=False, enable_model_summary=False,
        ... )
        >>> trainer.fit(module, Digits())
        >>> callback.accuracy >= 0.2 and callback.epoch == trainer.current_epoch
        True
    """

    @checked
    def __init__(
        self, *, threshold: ShareAboveZero = 0.2, every_n_steps: PositiveInteger | None = None, stop: bool = False
    ) -> None:
        self.threshold = threshold
        self.every_n_steps = every_n_steps
        self.stop = stop
        self.epoch: int | None = None
        self.step: int | None = None
        self.accuracy: float | None = None
        self._loaders: list[Iterable[Any]] = []
        self._last_step = 0
        self._merit = ACCURACY  # until the module is known

    @property
    def started(self) -> bool:
        return self.epoch is not None

    def summary(self) -> dict[str, Any]:
        """Return epoch, step and accuracy of the start of training, with the settings."""
        return {NAME: {"metric": self._merit.metric("test"), **self.state_dict()}}

    def sentence(self, summary: Mapping[str, Any], *, short: bool = False) -> str:
        start = summary[NAME]
        if short:
            return f"started in epoch {start['epoch']}" if start["epoch"] else "never started"
        return sentence(start, epochs=summary["epochs"], steps=summary["steps"])

    def stop_reason(self) -> str | None:
        return sentence(self.summary()[NAME]) if self.stop and self.started else None

    def group_check(self, datamodule: Any) -> None:
        check_test_set(datamodule, NO_TEST_SET)

    def group_start(self, run: GroupRun, moment: GroupMoment) -> bool:
        run.should_stop = run.should_stop or (self.stop and self.started)
        return False

    def group_period(self) -> int | None:
        return self.every_n_steps

    def group_is_due(self, moment: GroupMoment) -> bool:
        return not self.started and moment.epoch_ended is (self.every_n_steps is None)

    @classmethod
    def group_measure(cls, due: Sequence[tuple["StartOfTraining", GroupRun]], moment: GroupMoment) -> None:
        for start, run in due:
            _, accuracy = moment.test_means(run)
            start.add(accuracy, epoch=moment.epoch + 1, step=moment.step)
            run.should_stop = run.should_stop or (start.stop and start.started)

    def add(self, accuracy: float, *, epoch: int, step: int) -> None:
        """Add a measured test accuracy, unless an earlier one has reached the threshold, which starts training.

        Args:
            epoch: The epoch of the measurement, counted from 1.
            step: The number of optimizer steps done.
        """
        if self.started:
            return
        if accuracy >= self.threshold:
            self.epoch, self.step, self.accuracy = epoch, step, accuracy
        else:
            self.accuracy = max(accuracy, accuracy if self.accuracy is None else self.accuracy)

    def state_dict(self) -> dict[str, Any]:
        return {**self._settings(), "epoch": self.epoch, "step": self.step, self._merit.score: self.accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._settings().items() <= state_dict.items():  # the results are valid for the same settings only
            [score] = state_dict.keys() - self._settings().keys() - {"epoch", "step"}
            for name, saved, kind in (("epoch", "epoch", int), ("step", "step", int), ("accuracy", score, float)):
                check_type(saved, state_dict[saved], kind | None)
                setattr(self, name, state_dict[saved])

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._loaders = test_loaders(trainer, pl_module, NO_TEST_SET)
        self._merit = task_of(pl_module).merit

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        if self.stop and self.started:
            trainer.should_stop = True  # the run was killed after this checkpoint and before it stopped

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._last_step = self._last_step, trainer.global_step
        if crosses(self.every_n_steps, before, trainer.global_step):
            self._evaluate(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.every_n_steps is None:
            self._evaluate(trainer, pl_module)

    def _evaluate(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.started:
            return
        _, score = test_means(trainer, pl_module, self._loaders, task_of(pl_module), loss=False)
        self.add(score, epoch=trainer.current_epoch + 1, step=trainer.global_step)
        trainer.should_stop = trainer.should_stop or (self.stop and self.started)

    def _settings(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "every_n_steps": self.every_n_steps}


def sentence(start: Mapping[str, Any], *, epochs: int = 0, steps: int = 0) -> str:
    """Describe the entry `start_of_training` of summary.json in one sentence.

    Args:
        epochs: The number of epochs of the run, reported if training did not start.
        steps: The number of steps of the run, reported if training did not start.
    """
    score = str(start.get("metric", ACCURACY.metric("test"))).partition("/")[2]
    value, name = start[score], f"test {label_of(score)}"
    if value is None:
        return f"training did not start: the run ended before {name} was first measured"
    reached, threshold = f"{name} {text_of(score, value, 2)}", f"{start['threshold']:g}"
    if score == ACCURACY.score:
        threshold = f"{100 * start['threshold']:g}%"
    if start["epoch"] is None:
        return f"training did not start: {reached} at best, below {threshold}, in {epochs} epochs ({steps} steps)"
    return f"training started in epoch {start['epoch']} (step {start['step']}): {reached} ≥ {threshold}"
