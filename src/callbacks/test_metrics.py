"""Test loss and accuracy in the course of a run, and where the loss was lowest."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.nn.functional import cross_entropy

from start_training.callbacks.contracts import GroupCallback, GroupMoment, GroupRun
from start_training.callbacks.evaluation import check_test_set, correct, test_loaders, test_means
from start_training.runs.metrics_file import TakesMetrics
from start_training.settings import PositiveInteger, checked

NAMES = ("test/loss", "test/accuracy")
NO_TEST_SET = "test_metrics: the data has no test set to evaluate"


class TestMetrics(pl.Callback, GroupCallback):
    """`test/loss` and `test/accuracy` after every `every_n_epochs`-th epoch, in that epoch's row of all loggers.

    The loss is the mean cross-entropy of `forward`'s logits (samples, classes), the accuracy that of their largest,
    on the batches (inputs, targets, …) of the datamodule's, or else the module's, `test_dataloader`. `lowest` says
    where the loss was lowest so far (epoch, counted in epochs trained, step, loss, accuracy), and `summary` says it
    of a run; it is for experiments that look at the test set as theirs do, not to choose a run by.
    The run is the same, to the bit, as without this callback. It costs a pass over the test set.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), who mark the epoch of lowest test loss.
    Raises ValueError for a setting no run could use, and where there is no test set.
    """

    __test__ = False  # pytest, which takes the name for a test's

    @checked
    def __init__(self, *, every_n_epochs: PositiveInteger = 1) -> None:
        self.every_n_epochs = every_n_epochs
        self.lowest: dict[str, Any] | None = None
        self._loaders: list[Iterable[Any]] = []

    def summary(self) -> dict[str, Any]:
        """What a run's summary.json says of it; nothing before the first look."""
        return {"lowest_test_loss": dict(self.lowest)} if self.lowest else {}

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": dict(self.lowest) if self.lowest else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest = state_dict["lowest"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._loaders = test_loaders(trainer, pl_module, NO_TEST_SET)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0:
            loss, accuracy = test_means(trainer, pl_module, self._loaders, summed_loss, correct)
            self.note(epoch, trainer.global_step, loss, accuracy, loggers=trainer.loggers)

    def group_check(self, datamodule: Any) -> None:
        check_test_set(datamodule, NO_TEST_SET)

    def group_is_due(self, moment: GroupMoment) -> bool:
        return moment.epoch_ended and (moment.epoch + 1) % self.every_n_epochs == 0

    @classmethod
    def group_measure(cls, due: Sequence[tuple["TestMetrics", GroupRun]], moment: GroupMoment) -> None:
        for tests, run in due:
            tests.note(moment.epoch + 1, moment.step, *moment.test_means(run), loggers=run.loggers)

    def note(
        self, epoch: int, step: int, loss: float, accuracy: float, *, loggers: Iterable[TakesMetrics] = ()
    ) -> None:
        """Take what a look found after so many epochs and steps of training, and send it to the loggers.

        A loss that is NaN is never the lowest.
        """
        row = {"epoch": epoch - 1, **dict(zip(NAMES, (loss, accuracy), strict=True))}  # Lightning's name of the epoch
        for logger in loggers:
            logger.log_metrics(row, step=step - 1)
        if loss < (self.lowest["loss"] if self.lowest else math.inf):
            self.lowest = {"epoch": epoch, "step": step, "loss": loss, "accuracy": accuracy}


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits (samples, classes), summed over the samples, in float32."""
    return cross_entropy(logits.float(), targets, reduction="sum")
