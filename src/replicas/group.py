"""Train the runs of a group together: one program, whose steps and epochs are each run's own."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import monotonic

import torch

from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.callbacks.noted_signals import NotedSignals
from start_training.callbacks.phase import Phase
from start_training.callbacks.start_of_training import StartOfTraining
from start_training.callbacks.test_metrics import TestMetrics
from start_training.replicas.batches import Batches
from start_training.replicas.checkpoint import Progress
from start_training.replicas.group_evaluation import GroupEvaluation, Sets
from start_training.replicas.group_snapshot import GroupSnapshot
from start_training.replicas.optimizer import stacked
from start_training.replicas.rates import Rates
from start_training.replicas.replica import Replica
from start_training.replicas.stack import Stack
from start_training.replicas.step_buffer import StepBuffer
from start_training.replicas.updates import Updates
from start_training.replicas.vectorized import Lengths
from start_training.runs.outcome import Interrupted

Ended = Callable[[Replica, BaseException | None], None]


class Group:
    """Replicas that stand after the first `batch` batches of one epoch, and train on from there.

    ended: told of each run that has come to its end, with what ended it, if that is not that there is nothing left to
    do. checkpoint_seconds: between checkpoints, which are taken at ends of epochs and of runs, and after a signal;
    with them goes to disk what else a run writes. precision: `32-true`, `64-true` or `bf16-mixed`.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        sets: Sets,
        *,
        ended: Ended,
        batch: int = 0,
        precision: str = "32-true",
        checkpoint_seconds: float = 30.0,
    ) -> None:
        self.replicas = list(replicas)
        self.epoch, self.batch, self.step = replicas[0].current_epoch, batch, replicas[0].global_step
        stack = Stack([replica.net for replica in replicas])
        optimizer = stacked(replicas[0].optimizer, stack.parameters, steps=self.step)
        for row, replica in enumerate(replicas):
            optimizer.load(replica.optimizer, {name: stack.of(row, each) for name, each in optimizer.states.items()})
        watching = replicas[0].callback(ActivationLengths)
        self._every = watching.every_n_steps if watching else 0
        lookers = (replicas[0].callback(StartOfTraining), replicas[0].callback(Phase))
        self._looks_between = any(looker is not None and looker.every_n_steps is not None for looker in lookers)
        lengths = Lengths(stack.template, watching.modules) if watching else None
        batches = Batches(sets.training, [replica.order for replica in replicas])
        context = _precision(precision, stack.parameters.device)
        self.updates = Updates(stack, optimizer, batches, context, lengths)
        self._looks = GroupEvaluation(self.updates, sets)
        self._passes = StepBuffer()
        self._kept: GroupSnapshot | None = None  # of the last epoch's end, where its checkpoints are not written
        self.progress: Callable[[Group], None] = lambda group: None  # called at the end of every epoch
        self._ended, self._checkpoint_seconds = ended, checkpoint_seconds
        self._written = monotonic()
        self._rates = Rates(self.replicas, range(self.step, self.step + 1))

    def train(self) -> None:
        """Until all have ended. Raises what ended those that are left: `Interrupted` after a signal."""
        try:
            with NotedSignals() as signals:
                self._start()
                while self.replicas:
                    self._train_epoch(signals)
                if signals.first:  # it came while the last ones were let go
                    raise Interrupted(signals.first)
        except BaseException as error:
            try:
                self._let_go_of_diverged()
                for replica in self.replicas:
                    replica.flush()
            finally:
                while self.replicas:
                    self._ended(self.replicas.pop(), error)
            raise

    @property
    def _epochs(self) -> float:
        """Trained so far, with the share of this one."""
        return self.epoch + self.batch / len(self.updates.batches)

    def _start(self) -> None:
        unmeasured = []
        for replica in self.replicas:
            if phase := replica.callback(Phase):
                phase.tests = replica.callback(TestMetrics)
                if phase.start(replica.net, replica.directory, step=self.step):
                    unmeasured.append(replica)
            start = replica.callback(StartOfTraining)
            replica.should_stop = bool(start and start.stop and start.started)
        self._looks.phases(unmeasured, step=self.step, epochs=self._epochs)
        over = [replica for replica in self.replicas if replica.over]
        if self.batch:  # max_steps fell in mid-epoch, whose end is still to be done
            self._end_epoch(over)
        else:
            self._conclude(over)

    def _train_epoch(self, signals: NotedSignals) -> None:
        length = len(self.updates.batches)
        self.updates.batches.begin(self.epoch)
        self._rates = Rates(self.replicas, range(self.step - self.batch, self.step - self.batch + length))
        while self.replicas and self.batch < length:
            self._take_step()
            self._look_between_batches()
            if self.replicas and self.batch < length:
                if 0 < self.replicas[0].max_steps <= self.step:
                    self._let_go_of_diverged()
                    self._save(self.replicas)  # the run ends in mid-epoch, and may be asked to go on from there
                    break
                self._stop_if_asked(signals)
        self._end_epoch(self.replicas)
        self._stop_if_asked(signals)
        self.epoch, self.batch = self.epoch + 1, 0

    def _take_step(self) -> None:
        measured = bool(self._every) and self.step % self._every == 0
        update = self.updates.take(self.batch, self._rates.at(self.step), measured=measured)
        if measured and self.updates.lengths is not None:
            self._passes.names = self.updates.lengths.names
        self._passes.add(self.step, self.updates.batches.size(self.batch), *update)
        self.batch, self.step = self.batch + 1, self.step + 1
        self._losses = update.losses

    def _look_between_batches(self) -> None:
        waits = _waits(self._losses.device)
        if self._looks_between and self._looks.due(self.replicas, step=self.step):
            if waits:
                self._let_go_of_diverged(before=self.step)  # a look waits for the device anyway
            self._looks.starts(self.replicas, step=self.step, epoch=self.epoch)
            self._looks.phases(self.replicas, step=self.step, epochs=self._epochs, between=True)
            if waits:
                self._let_go_of_diverged()  # those of this very step are looked at, as in runs of their own
        # Where to look at losses would wait for them, runs that diverge go at a look, and as epochs end.
        if not waits and not self._losses.isfinite().all():
            self._let_go_of_diverged()
        whole = self.batch == len(self.updates.batches)
        if self._looks_between and not whole and any(replica.should_stop for replica in self.replicas):
            self._end_epoch([replica for replica in self.replicas if replica.should_stop])

    def _end_epoch(self, replicas: Sequence[Replica]) -> None:
        """Of replicas whose epoch ends here: all of them, or those that stop before the others."""
        self._let_go_of_diverged()
        replicas = [replica for replica in replicas if replica in self.replicas]
        if not replicas:
            return
        whole = self.batch == len(self.updates.batches)
        self._looks.end_epoch(self.replicas, replicas, step=self.step, epoch=self.epoch, epochs=self._epochs)
        for replica in replicas:
            replica.current_epoch, replica.losses, replica.samples = self.epoch + 1, [], []
        over = [replica for replica in replicas if replica.over]
        if whole or replicas[0].should_stop:
            self._save(over, ended=True)
        if whole:
            self._keep([replica for replica in replicas if replica not in over])
        self._conclude(over)
        self.progress(self)

    def _keep(self, replicas: Sequence[Replica]) -> None:
        """Checkpoints of the end of an epoch: on disk if it is time, else in memory, for those that diverge next."""
        if monotonic() - self._written >= self._checkpoint_seconds:
            self._save(replicas, ended=True)
            self._written, self._kept = monotonic(), None
        elif replicas:
            self._kept = self._standing(ended=True).copied()

    def _save(self, replicas: Sequence[Replica], *, ended: bool = False) -> None:
        if not replicas:
            return
        self._passes.share(self.replicas)
        standing = self._standing(ended=ended)
        for replica in replicas:
            replica.flush()
            standing.save(replica)

    def _standing(self, *, ended: bool) -> GroupSnapshot:
        length = len(self.updates.batches)
        moment = Progress(self.epoch, self.batch, length, self.step, self._looks.validations, ended)
        return GroupSnapshot.of(self.replicas, moment, self.updates.stack, self.updates.optimizer)

    def _stop_if_asked(self, signals: NotedSignals) -> None:
        if signals.first and self.replicas:
            self._let_go_of_diverged()
            self._save(self.replicas, ended=self.batch == len(self.updates.batches))
            for replica in self.replicas:
                replica.current_epoch = self.epoch  # Lightning counts an epoch once all that is done at its end is done
            raise Interrupted(signals.first)

    def _let_go_of_diverged(self, *, before: int | None = None) -> None:
        """Of all whose loss has not been finite, or of those that diverged before a step."""
        self._passes.share(self.replicas)
        diverged = [replica for replica in self.replicas if replica.diverged]
        if before is not None:
            diverged = [replica for replica in diverged if replica.global_step < before]
        for replica in diverged:
            if self._kept:
                self._kept.save(replica)
        self._let_go(diverged)

    def _conclude(self, replicas: Sequence[Replica]) -> None:
        """Test those that have done all they were to do, and let them go."""
        if replicas:
            self._looks.test(self.replicas, replicas)
            self._let_go(replicas)

    def _let_go(self, replicas: Sequence[Replica]) -> None:
        if not replicas:
            return
        stay = [row for row, replica in enumerate(self.replicas) if replica not in replicas]
        self.replicas = [self.replicas[row] for row in stay]
        if stay:
            self.updates.keep(stay)
            self._rates.keep(stay)
        for replica in replicas:
            replica.flush()
            if phase := replica.callback(Phase):
                phase.finish()
            self._ended(replica, replica.diverged)


def _waits(device: torch.device) -> bool:
    """Whether to look at a value waits for all that the device has to do before."""
    return device.type != "cpu"


def _precision(name: str, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    if name != "bf16-mixed":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
