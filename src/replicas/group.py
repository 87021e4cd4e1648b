"""Train a group of replicas together: their steps and epochs are processed in one loop."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import monotonic

import torch
from torch import nn

from start_training.callbacks.contracts import GroupCallback, GroupMoment, LengthsCallback
from start_training.datamodules.samples import Samples
from start_training.lengths.layer_choice import check_layers, choose_from_pass
from start_training.replicas.batches import GroupBatches
from start_training.replicas.forward_pass import StackedLengths
from start_training.replicas.group_checkpoint import GroupSnapshot, Progress
from start_training.replicas.group_evaluation import GroupEvaluation, Sets, measure
from start_training.replicas.optimizer import EpochSettings, stacked_optimizer
from start_training.replicas.replica import Replica
from start_training.replicas.stack import Stack
from start_training.replicas.step_buffer import StepBuffer
from start_training.replicas.updates import Updates
from start_training.stop_signals import check, deferred, received

OnEnd = Callable[[Replica, BaseException | None], None]


class ReplicaGroup:
    """A group of replicas that have trained the same number of steps and continue together.

    Args:
        replicas: Runs with nets of equal shapes, whose callbacks have the same classes and settings.
        sets: The data of the group.
        on_end: Called when a run has ended, with its replica and the error that ended it, or None.
        batch: The number of batches of the current epoch that are already trained.
        precision: `32-true`, `64-true` or `bf16-mixed`.
        checkpoint_seconds: The minimum time between checkpoints, in seconds. They are written at the end of an epoch,
            together with tables and metrics. When a run ends or a signal stops it, a checkpoint is always written.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        sets: Sets,
        *,
        on_end: OnEnd,
        batch: int = 0,
        precision: str = "32-true",
        checkpoint_seconds: float = 30.0,
    ) -> None:
        self.replicas = list(replicas)
        first = replicas[0]
        self.epoch, self.batch, self.step = first.current_epoch, batch, first.global_step
        stack = Stack([replica.net for replica in replicas])
        optimizer = stacked_optimizer(first.optimizer, stack.parameters, steps=self.step)
        for row, replica in enumerate(replicas):
            optimizer.load(
                replica.optimizer, {name: stack.row_views(row, state) for name, state in optimizer.states.items()}
            )
        self._reader = next((callback for callback in first.callbacks if isinstance(callback, LengthsCallback)), None)
        lengths = _lengths(stack.template, self.replicas, self._reader, sets.training) if self._reader else None
        batches = GroupBatches(sets.training, [replica.order for replica in replicas])
        self.updates = Updates(stack, optimizer, batches, _precision(precision, stack.parameters.device), lengths)
        self._evaluation = GroupEvaluation(self.updates, sets, first)
        self._buffer = StepBuffer()
        self._epoch_snapshot: GroupSnapshot | None = (
            None  # copied at the end of an epoch whose checkpoints were not written
        )
        self.progress: Callable[[ReplicaGroup], None] = lambda group: None  # called at the end of every epoch
        self._on_end, self._checkpoint_seconds = on_end, checkpoint_seconds
        self._written = monotonic()
        self._settings = EpochSettings(self.replicas, range(self.step, self.step + 1))

    def train(self) -> None:
        """Train until all runs have ended. An error ends all runs.

        Raises:
            Interrupted: SIGINT or SIGTERM was received; the checkpoints are written.
        """
        try:
            with deferred():
                self._start()
                while self.replicas:
                    self._train_epoch()
                check()  # a signal was received while the last runs ended
        except BaseException as error:
            try:
                self._drop_diverged()
                for replica in self.replicas:
                    replica.flush()
            finally:
                while self.replicas:
                    self._on_end(self.replicas.pop(), error)
            raise

    def _moment(self, *, epoch_ended: bool = False) -> GroupMoment:
        epochs = self.epoch + self.batch / len(self.updates.batches)
        return GroupMoment(self.step, self.epoch, epochs, epoch_ended, self._evaluation.test_means(self.replicas))

    @property
    def _epoch_is_whole(self) -> bool:
        return self.batch == len(self.updates.batches)

    def _start(self) -> None:
        self._evaluation.start(self.replicas, self._moment())
        finished = [replica for replica in self.replicas if replica.finished]
        if self.batch:  # the runs reached max_steps within an epoch; its end has not been processed
            self._end_epoch(finished)
        else:
            self._test_and_end(finished)

    def _train_epoch(self) -> None:
        length = len(self.updates.batches)
        self.updates.batches.begin(self.epoch)
        self._settings = EpochSettings(self.replicas, range(self.step - self.batch, self.step - self.batch + length))
        while self.replicas and self.batch < length:
            self._train_step()
            self._measure_between_batches()
            if self.replicas and self.batch < length:
                if 0 < self.replicas[0].max_steps <= self.step:
                    self._drop_diverged()
                    self._save(self.replicas)  # training may be resumed from this step with a larger max_steps
                    break
                self._stop_if_asked()
        self._end_epoch(self.replicas)
        self._stop_if_asked()
        self.epoch, self.batch = self.epoch + 1, 0

    def _train_step(self) -> None:
        measured = self._reader is not None and self.step % self._reader.every_n_steps == 0
        update = self.updates.train_step(self.batch, self._settings.at(self.step), measured=measured)
        if measured and self.updates.lengths is not None:
            self._buffer.names = self.updates.lengths.names
        self._buffer.add(self.step, self.updates.batches.size(self.batch), *update)
        self.batch, self.step = self.batch + 1, self.step + 1
        self._losses = update.losses

    def _measure_between_batches(self) -> None:
        waits = _waits(self._losses.device)
        if self._evaluation.due(self.replicas, self._moment()):
            if waits:
                self._drop_diverged(before=self.step)  # measuring waits for the device in any case
            moment = self._moment()
            measure(self._evaluation.due(self.replicas, moment), moment)
            if waits:
                self._drop_diverged()  # after the measurement of this step, as in a run without a group
        # If losses can be read without waiting for the device, runs that diverge end immediately.
        if not waits and not self._losses.isfinite().all():
            self._drop_diverged()
        if not self._epoch_is_whole and (stopped := [replica for replica in self.replicas if replica.should_stop]):
            self._end_epoch(stopped)

    def _end_epoch(self, replicas: Sequence[Replica]) -> None:
        """Process the end of the epoch for the given replicas: all of them, or those that stop within the epoch."""
        self._drop_diverged()
        replicas = [replica for replica in replicas if replica in self.replicas]
        if not replicas:
            return
        self._evaluation.end_epoch(self.replicas, replicas, self._moment(epoch_ended=True))
        for replica in replicas:
            replica.current_epoch, replica.losses, replica.samples = self.epoch + 1, [], []
        finished = [replica for replica in replicas if replica.finished]
        if self._epoch_is_whole or replicas[0].should_stop:
            self._save(finished, ended=True)
        if self._epoch_is_whole:
            self._save_or_copy([replica for replica in replicas if replica not in finished])
        self._test_and_end(finished)
        self.progress(self)

    def _save_or_copy(self, replicas: Sequence[Replica]) -> None:
        """Write checkpoints if `checkpoint_seconds` have passed, else copy the state in case runs diverge."""
        if monotonic() - self._written >= self._checkpoint_seconds:
            self._save(replicas, ended=True)
            self._written, self._epoch_snapshot = monotonic(), None
        elif replicas:
            self._epoch_snapshot = self._snapshot(ended=True, copied=True)

    def _save(self, replicas: Sequence[Replica], *, ended: bool = False) -> None:
        if not replicas:
            return
        self._buffer.distribute(self.replicas)
        snapshot = self._snapshot(ended=ended)
        for replica in replicas:
            replica.flush()
            snapshot.save(replica)

    def _snapshot(self, *, ended: bool, copied: bool = False) -> GroupSnapshot:
        length = len(self.updates.batches)
        progress = Progress(self.epoch, self.batch, length, self.step, self._evaluation.validations, ended)
        return GroupSnapshot(self.replicas, progress, self.updates.stack, self.updates.optimizer, copied=copied)

    def _stop_if_asked(self) -> None:
        if received() and self.replicas:
            self._drop_diverged()
            self._save(self.replicas, ended=self._epoch_is_whole)
            for replica in self.replicas:
                replica.current_epoch = self.epoch  # as in Lightning, the epoch is not counted before its checkpoint
            check()

    def _drop_diverged(self, *, before: int | None = None) -> None:
        """End the runs that have diverged; with `before`, only those that diverged before that step."""
        self._buffer.distribute(self.replicas)
        diverged = [replica for replica in self.replicas if replica.diverged]
        if before is not None:
            diverged = [replica for replica in diverged if replica.global_step < before]
        for replica in diverged:
            if self._epoch_snapshot:
                self._epoch_snapshot.save(replica)
        self._drop(diverged)

    def _test_and_end(self, replicas: Sequence[Replica]) -> None:
        if replicas:
            self._evaluation.test(self.replicas, replicas)
            self._drop(replicas)

    def _drop(self, replicas: Sequence[Replica]) -> None:
        if not replicas:
            return
        stay = [row for row, replica in enumerate(self.replicas) if replica not in replicas]
        self.replicas = [self.replicas[row] for row in stay]
        if stay:
            self.updates.keep(stay)
            self._settings.keep(stay)
        for replica in replicas:
            replica.flush()
            for callback in replica.callbacks:
                if isinstance(callback, GroupCallback):
                    callback.group_end()
            self._on_end(replica, replica.diverged)


def _waits(device: torch.device) -> bool:
    """Return whether reading a value from the device waits for all its queued operations."""
    return device.type != "cpu"


def _precision(name: str, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    if name != "bf16-mixed":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def _lengths(net: nn.Module, replicas: Sequence[Replica], reader: LengthsCallback, samples: Samples) -> StackedLengths:
    """Choose the layers to measure, and tell the callbacks of all replicas what they cover."""
    check_layers(net, reader.layers, reader.layers_setting)
    choice = choose_from_pass(net, reader.layers, [samples.inputs[:2]], sample_axis=reader.sample_axis)
    for replica in replicas:
        for callback in replica.callbacks:
            if isinstance(callback, LengthsCallback):
                callback.coverage = choice.coverage
    return StackedLengths(net, choice)
