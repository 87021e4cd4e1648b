"""Record test loss and accuracy during training, and the epoch of the lowest test loss."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pytorch_lightning as pl

from start_training.annotations import check_type
from start_training.callbacks.contracts import GroupCallback, GroupMoment, GroupRun
from start_training.callbacks.evaluation import check_test_set, task_of, test_loaders, test_means
from start_training.runs.metrics_file import MetricsLogger
from start_training.settings import PositiveInteger, checked
from start_training.tasks.merit import ACCURACY

NO_TEST_SET = "test_metrics: the data has no test set; this callback needs one to evaluate"


class TestMetrics(pl.Callback, GroupCallback):
    """Log `test/loss` and `test/accuracy` after every `every_n_epochs`-th epoch, in the row of that epoch.

    The loss is the mean cross-entropy of `forward`'s logits (samples, classes), and the accuracy is that of the largest
    logit, on the batches (inputs, targets, …) of the `test_dataloader` of the datamodule, or of the module if there is
    no datamodule. For a module whose attribute `task` is another `Task`, they are its loss and its score (`test/r2` for
    regression). Meant for experiments that report test metrics during training, not for model selection. The run is
    bit-identical to one without this callback; each evaluation is a pass over the test set.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), who mark the epoch of lowest test loss.

    Args:
        every_n_epochs: Evaluate after every n-th epoch.

    Attributes:
        lowest: Epoch (counted from 1), step, loss and accuracy (or other score) of the lowest test loss so far; None
            before the first evaluation.

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
        >>> callback = TestMetrics()
        >>> trainer = pl.Trainer(
        ...     max_epochs=2, callbacks=[callback], logger=False, enable_checkpointing=False,
        ...     enable_progress_bar=False, enable_model_summary=False,
        ... )
        >>> trainer.fit(module, Digits())
        >>> sorted(callback.lowest)
        ['accuracy', 'epoch', 'loss', 'step']
    """

    __test__ = False  # pytest would collect the class as a test

    @checked
    def __init__(self, *, every_n_epochs: PositiveInteger = 1) -> None:
        self.every_n_epochs = every_n_epochs
        self.lowest: dict[str, Any] | None = None
        self._loaders: list[Iterable[Any]] = []
        self._merit = ACCURACY  # until the module is known

    def summary(self) -> dict[str, Any]:
        """Return epoch, step, loss and accuracy of the lowest test loss; {} before the first evaluation."""
        return {"lowest_test_loss": dict(self.lowest)} if self.lowest else {}

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": dict(self.lowest) if self.lowest else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in (state_dict["lowest"] or {}).items():
            check_type(name, value, int if name in ("epoch", "step") else float)
        if (lowest := state_dict["lowest"]) is not None and not {"epoch", "step", "loss"} <= lowest.keys():
            raise ValueError("lowest: lacks epoch, step or loss")
        self.lowest = state_dict["lowest"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._loaders = test_loaders(trainer, pl_module, NO_TEST_SET)
        self._merit = task_of(pl_module).merit

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0:
            loss, score = test_means(trainer, pl_module, self._loaders, task_of(pl_module))
            self.add(epoch, trainer.global_step, loss, score, loggers=trainer.loggers)

    def group_check(self, datamodule: Any) -> None:
        check_test_set(datamodule, NO_TEST_SET)

    def group_is_due(self, moment: GroupMoment) -> bool:
        return moment.epoch_ended and (moment.epoch + 1) % self.every_n_epochs == 0

    @classmethod
    def group_measure(cls, due: Sequence[tuple["TestMetrics", GroupRun]], moment: GroupMoment) -> None:
        for tests, run in due:
            tests.add(moment.epoch + 1, moment.step, *moment.test_means(run), loggers=run.loggers)

    def add(self, epoch: int, step: int, loss: float, score: float, *, loggers: Iterable[MetricsLogger] = ()) -> None:
        """Add test loss and score, and log them; a loss of NaN is never the lowest.

        Args:
            epoch: The epoch that has ended, counted from 1.
            step: The number of optimizer steps done.
            loss: The mean test loss.
            score: The test accuracy, or the score of another task.
            loggers: The loggers that receive both metrics.
        """
        row = {"epoch": epoch - 1, "test/loss": loss, self._merit.metric("test"): score}  # Lightning counts from 0
        for logger in loggers:
            logger.log_metrics(row, step=step - 1)
        if loss < (self.lowest["loss"] if self.lowest else math.inf):
            self.lowest = {"epoch": epoch, "step": step, "loss": loss, self._merit.score: score}
