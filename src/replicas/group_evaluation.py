"""What the runs of a group look at beside their training batches, for all of them at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.optim import SGD

from start_training.callbacks.moment import sgd_scaling
from start_training.callbacks.phase import Phase
from start_training.callbacks.start_of_training import StartOfTraining
from start_training.callbacks.test_metrics import TestMetrics
from start_training.datamodules.loader import EvaluationLoader
from start_training.datamodules.samples import Samples
from start_training.order_chaos.layer_phases import measure_phases
from start_training.replicas.evaluation import looks, metrics
from start_training.replicas.replica import Replica, mean_loss
from start_training.replicas.updates import Updates


@dataclass(frozen=True)
class Sets:
    """The data of a group, on its device and in its precision; None where a set is empty."""

    training: Samples
    validation: EvaluationLoader | None
    test: EvaluationLoader | None


class GroupEvaluation:
    """At the validation and the test set, and at the phases of layers; what is seen, callbacks and loggers are told.

    all: the replicas in the order of the stack, of which those that are asked about are some.
    """

    def __init__(self, updates: Updates, sets: Sets) -> None:
        self._updates, self._sets = updates, sets

    @property
    def validations(self) -> int:
        """Batches of the validation set."""
        return 0 if self._sets.validation is None else len(self._sets.validation)

    def due(self, all: Sequence[Replica], *, step: int) -> bool:
        """Whether one of them looks at something after this step, between batches."""
        lookers = [looker for each in all for looker in (_waiting(each), each.callback(Phase)) if looker]
        return any(looker.is_due(step - 1, step) for looker in lookers)

    def starts(self, all: Sequence[Replica], *, step: int, epoch: int) -> None:
        """Of those that look between batches whether they have started."""
        due = [each for each in all if (start := _waiting(each)) and start.is_due(step - 1, step)]
        if due:
            self._note_starts(all, due, self._look()[1].tolist(), step=step, epoch=epoch)

    def phases(self, replicas: Sequence[Replica], *, step: int, epochs: float, between: bool = False) -> None:
        """Measured where the step has no measurement yet, or, between batches, where one is due."""
        pairs = [(replica, phase) for replica in replicas if (phase := replica.callback(Phase))]
        due = [
            (each, phase) for each, phase in pairs if (phase.is_due(step - 1, step) if between else phase.lacks(step))
        ]
        if not due:
            return
        first = due[0][1]
        layers = [layer for _, phase in due for layer in phase.layers]
        measured = measure_phases(layers, iterations=first.iterations, starts=first.starts)
        for index, (replica, phase) in enumerate(due):
            rows = measured[index * len(phase.layers) : (index + 1) * len(phase.layers)]
            scaling = _scaling(replica, step)
            phase.add(rows, step=step, epoch=epochs, scaling=scaling, loggers=[replica.log.others])

    def end_epoch(
        self, all: Sequence[Replica], ending: Sequence[Replica], *, step: int, epoch: int, epochs: float
    ) -> None:
        """What a run does at an epoch's end: it validates, unless max_steps cuts the epoch short, looks and logs."""
        whole = epochs == epoch + 1
        if self._sets.validation is not None and (whole or ending[0].should_stop):
            self._evaluate("val", all, ending, self._sets.validation, step=step - 1, epoch=epoch)
        self._look_at_test_set(all, ending, step=step, epoch=epoch)
        self.phases(ending, step=step, epochs=epochs)
        for replica in ending:
            loss = mean_loss(replica.losses, replica.samples)
            replica.callback_metrics["train/loss"] = loss
            row = {"epoch": epoch, "train/loss": loss, "learning_rate": float(replica.rate(step - 1))}
            replica.log.log_metrics(row, step - 1)

    def test(self, all: Sequence[Replica], ended: Sequence[Replica]) -> None:
        """At the end of a run."""
        if self._sets.test is not None:
            step, epoch = ended[0].global_step, ended[0].current_epoch
            self._evaluate("test", all, ended, self._sets.test, step=step, epoch=epoch)

    def _look_at_test_set(self, all: Sequence[Replica], ending: Sequence[Replica], *, step: int, epoch: int) -> None:
        starting = [each for each in ending if (start := _waiting(each)) and start.every_n_steps is None]
        watched = [(each, tests) for each in ending if (tests := each.callback(TestMetrics))]
        watched = [(each, tests) for each, tests in watched if (epoch + 1) % tests.every_n_epochs == 0]
        if not watched and not starting:
            return
        losses, accuracies = (values.tolist() for values in self._look())
        self._note_starts(all, starting, accuracies, step=step, epoch=epoch)
        for replica, tests in watched:
            row = all.index(replica)
            tests.note(epoch + 1, step, losses[row], accuracies[row], loggers=[replica.log])

    def _note_starts(
        self, all: Sequence[Replica], looking: Sequence[Replica], accuracies: Sequence[float], *, step: int, epoch: int
    ) -> None:
        for replica in looking:
            if start := _waiting(replica):
                start.note(accuracies[all.index(replica)], epoch=epoch + 1, step=step)
                replica.should_stop = start.stop and start.started

    def _look(self) -> tuple[Tensor, ...]:
        """Loss and accuracy of each replica on the test set."""
        loader = self._sets.test
        if loader is None:
            raise ValueError("datamodule: has no test set, whose accuracy callbacks ask for")
        return self._updates.evaluate(looks, loader)

    def _evaluate(
        self, stage: str, all: Sequence[Replica], of: Sequence[Replica], loader: EvaluationLoader, **at: int
    ) -> None:
        losses, accuracies = (each.tolist() for each in self._updates.evaluate(metrics, loader))
        for replica in of:
            row = all.index(replica)
            found = {f"{stage}/loss": losses[row], f"{stage}/accuracy": accuracies[row]}
            replica.callback_metrics |= found
            replica.log.log_metrics({**found, "epoch": at["epoch"]}, at["step"])


def _waiting(replica: Replica) -> StartOfTraining | None:
    """Who looks for the start of a run that has not been found yet."""
    start = replica.callback(StartOfTraining)
    return start if start is not None and not start.started else None


def _scaling(replica: Replica, step: int) -> float:
    """Of the step to come; see `start_training.callbacks.moment`."""
    if type(replica.optimizer) is not SGD:
        return math.nan
    return sgd_scaling(replica.set_step(step), replica.order.batch_size)
