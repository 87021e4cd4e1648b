"""When training starts: the first epoch, and the first optimizer step, whose test accuracy reaches a threshold."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.seed import isolate_rng

from start_training.callbacks.evaluation import correct, test_loaders, test_means
from start_training.settings import fraction, positive_integer, positive_number

NO_TEST_SET = "start_of_training: the data has no test set, whose accuracy says when training starts"


class StartOfTraining(pl.Callback):
    """Training has started once test accuracy ≥ `threshold`; the epoch is counted from 1, the step in optimizer steps.
    Test accuracy is that of `forward`'s logits (samples, classes) on the batches (inputs, targets, …) of the
    `test_dataloader` of the datamodule, or of the module where there is no datamodule; logits that are not finite count
    as wrong. It is computed at the end of every epoch, or after every k-th step, until training has started. Up to
    where it stops, the run is bit-identical to one without this callback.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), figures 1b and 3: epochs until 20% test accuracy.

    Args:
        threshold: Test accuracy, above 0 and below 1.
        every_n_steps: Evaluate after every k-th step instead of after every epoch.
        stop: End the run when training has started, even within an epoch.

    Attributes:
        epoch: In which training started; None before.
        step: After which training started; None before.
        accuracy: At that step; None before.

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

    def __init__(self, *, threshold: float = 0.2, every_n_steps: int | None = None, stop: bool = False) -> None:
        positive_number("threshold", threshold)
        self.threshold = fraction("threshold", threshold)
        self.every_n_steps = None if every_n_steps is None else positive_integer("every_n_steps", every_n_steps)
        self.stop = stop
        self.epoch: int | None = None
        self.step: int | None = None
        self.accuracy: float | None = None  # when training started; until then, the best so far
        self._loaders: list[Iterable[Any]] = []
        self._last_step = 0

    @property
    def started(self) -> bool:
        return self.epoch is not None

    def summary(self) -> dict[str, Any]:
        """What a run's summary.json says of its start."""
        found = {"epoch": self.epoch, "step": self.step, "accuracy": self.accuracy}
        return {"start_of_training": {"metric": "test/accuracy", **self._settings(), **found}}

    def is_due(self, before: int, step: int) -> bool:
        """Whether to look in mid-epoch, after `step` steps, when there were `before` a batch ago."""
        # Batches that only accumulate take no step; optimizers of manual optimization take several.
        return self.every_n_steps is not None and step // self.every_n_steps > before // self.every_n_steps

    def note(self, accuracy: float, *, epoch: int, step: int) -> None:
        """Take a look's test accuracy, measured in that epoch (from 1) after so many steps; nothing once started."""
        if self.started:
            return
        if accuracy >= self.threshold:
            self.epoch, self.step, self.accuracy = epoch, step, accuracy
        else:
            self.accuracy = max(accuracy, self.accuracy or 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {**self._settings(), "epoch": self.epoch, "step": self.step, "accuracy": self.accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._settings().items() <= state_dict.items():  # what was found with others does not hold with these
            self.epoch, self.step, self.accuracy = (state_dict[name] for name in ("epoch", "step", "accuracy"))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with isolate_rng():
            self._loaders = test_loaders(trainer, pl_module, NO_TEST_SET)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        if self.stop and self.started:
            trainer.should_stop = True  # killed after the checkpoint, and before it could say so

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._last_step = self._last_step, trainer.global_step
        if self.is_due(before, trainer.global_step):
            self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.every_n_steps is None:
            self._look(trainer, pl_module)

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.started:
            return
        [accuracy] = test_means(trainer, pl_module, self._loaders, correct)
        self.note(accuracy, epoch=trainer.current_epoch + 1, step=trainer.global_step)
        trainer.should_stop = trainer.should_stop or (self.stop and self.started)

    def _settings(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "every_n_steps": self.every_n_steps}


def sentence(start: Mapping[str, Any], *, epochs: int, steps: int) -> str:
    """What `summary.json` has under `start_of_training`, in words; the run had so many epochs and steps."""
    if start["accuracy"] is None:
        return "training did not start: the run ended before test accuracy was first measured"
    accuracy, threshold = f"test accuracy {start['accuracy']:.2%}", f"{100 * start['threshold']:g}%"
    if start["epoch"] is None:
        return f"training did not start: {accuracy} at best, below {threshold}, in {epochs} epochs ({steps} steps)"
    return f"training started in epoch {start['epoch']} (step {start['step']}): {accuracy} ≥ {threshold}"
