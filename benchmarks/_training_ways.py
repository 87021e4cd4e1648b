"""Ways to train one net on one set, and what a step of each takes: bare PyTorch, Lightning, and a run of this project.

A turn is a training of its own in the calling thread, as any run is: a thread for each way would give each way
OpenMP threads of its own, which slow one another down.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stderr
from functools import partial
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks._interleaved import SteppedFit, deferred_time, silent_trainer
from benchmarks._job_gaps import mnist_directory
from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.callbacks.divergence import Divergence
from start_training.callbacks.hyperparameters import Hyperparameters
from start_training.callbacks.last_checkpoint import LastCheckpoint
from start_training.callbacks.no_profiler import NoProfiler
from start_training.callbacks.progress import TrainingProgress
from start_training.callbacks.ranks_agree import RanksAgree
from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.loader import TrainingLoader
from start_training.datamodules.mnist import Mnist
from start_training.datamodules.samples import Samples
from start_training.models.classifier import Classifier
from start_training.runs.metrics_file import MetricsFile

BATCH = 1024
NEVER = 10**9
SGD = partial(torch.optim.SGD, lr=0.01)

BARE = "bare PyTorch loop"
LIGHTNING = "Lightning, all off"
OURS = "lengths off"
OURS_WITH_BAR = "lengths off, progress bar"
LENGTHS = "lengths at every step"


class Turn(NamedTuple):
    """How many steps to train, and how many of them not to time: the first allocate."""

    warm_up: int
    steps: int


class TimedLoader:
    """Batches of a loader, epoch after epoch, of which training knows nothing; `seconds` is what `turn.steps` took.

    From asking for the first batch after the warm-up, with which an epoch begins (a permutation is drawn), to asking
    for one after the last: loading a batch and all that is done with it is inside.
    """

    def __init__(self, loader: Any, turn: Turn) -> None:
        self.seconds = float("nan")
        self._loader = loader
        self._turn = turn

    def __len__(self) -> int:
        return NEVER  # from a loader without a length Lightning fetches each batch a step early

    def __iter__(self) -> Iterator[Any]:
        yield from islice(self._loader, self._turn.warm_up)
        start = time.perf_counter()
        yield from islice(chain.from_iterable(self._epochs()), self._turn.steps)
        self.seconds = time.perf_counter() - start

    def _epochs(self) -> Iterator[Any]:
        for epoch in range(1, NEVER):
            self._loader.set_epoch(epoch)
            yield self._loader


class BareLoader:
    """A random permutation per epoch, and rows gathered by it."""

    def __init__(self, samples: Samples, batch: int = BATCH) -> None:
        self._samples, self._batch = samples, batch

    def set_epoch(self, epoch: int) -> None:
        """Each epoch is as random as any."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self._samples
        for rows in torch.randperm(len(targets)).split(self._batch):
            yield inputs.index_select(0, rows), targets.index_select(0, rows)


def bare_turn(net: nn.Module, samples: Samples, turn: Turn, *, batch: int = BATCH) -> float:
    """Seconds per step of the loop that everybody writes first."""
    batches, optimizer = TimedLoader(BareLoader(samples, batch), turn), SGD(net.parameters())
    for inputs, targets in batches:
        loss = cross_entropy(net(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return batches.seconds / turn.steps


class PlainModule(pl.LightningModule):
    """The same loop as a LightningModule."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        return cross_entropy(self.net(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return SGD(self.parameters())


def lightning_turn(net: nn.Module, samples: Samples, turn: Turn, *, batch: int = BATCH) -> float:
    """Seconds per step under a Trainer that logs, saves and shows nothing."""
    batches = TimedLoader(BareLoader(samples, batch), turn)
    silent_trainer("cpu").fit(PlainModule(net), batches)
    return batches.seconds / turn.steps


class Screen(StringIO):
    """A terminal on which a progress bar is drawn in full, and which nobody sees."""

    def isatty(self) -> bool:
        return True


def our_turn(
    net: nn.Module,
    samples: Samples,
    turn: Turn,
    *more: pl.Callback,
    lengths: bool = False,
    bar: bool = False,
    batch: int = BATCH,
) -> float:
    """Seconds per step of what scripts/train.py runs; lengths are measured, and not yet written."""
    batches = TimedLoader(training_loader(samples, batch), turn)
    classifier = Classifier(net, SGD, classes=10)
    with tempfile.TemporaryDirectory() as directory:
        trainer = our_trainer(Path(directory), *more, lengths=lengths, bar=bar, max_epochs=1)
        with redirect_stderr(Screen()) if bar else nullcontext():
            trainer.fit(classifier, batches, [])
    return batches.seconds / turn.steps


def flush_seconds(net: nn.Module, samples: Samples, *, period: int = 100) -> float:
    """Seconds per step of writing lengths every `period` steps, which does not depend on the batch; two samples do."""
    with tempfile.TemporaryDirectory() as directory:
        writing = ActivationLengths(directory, flush_every_n_steps=period)
        few = (samples.inputs[:2], samples.targets[:2])
        fit = SteppedFit(Classifier(copy.deepcopy(net), SGD, classes=10), few, writing)
        seconds = deferred_time(fit, period)
        fit.finish()
    return seconds


class EpochEnds(pl.Callback):
    """Notes how long it takes from an epoch's last step to the first of the next."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.current_epoch and not trainer.fit_loop.epoch_loop.batch_idx:
            self.seconds.append(time.perf_counter() - self._ended)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self._ended = time.perf_counter()


def epoch_end_seconds(net: nn.Module, samples: Samples, *, lengths: bool = False, epochs: int = 20) -> float:
    """The median over epochs, of two batches each; the first batch of the next epoch is loaded within."""
    few = Samples(samples.inputs[: 2 * BATCH], samples.targets[: 2 * BATCH])
    ends = EpochEnds()
    with tempfile.TemporaryDirectory() as directory:
        trainer = our_trainer(Path(directory), ends, lengths=lengths, max_epochs=epochs)
        trainer.fit(Classifier(copy.deepcopy(net), SGD, classes=10), training_loader(few), [])
    return float(np.median(ends.seconds))


def training_samples() -> tuple[Samples, str]:
    """MNIST's 60,000, or random ones of its shape, and which of them."""
    if directory := mnist_directory():
        return Mnist(directory, batch_size=BATCH, validation=0.0).samples("training"), "MNIST"
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60_000, 1, 28, 28, generator=generator)
    return Samples(inputs, torch.randint(10, (60_000,), generator=generator)), "random tensors of MNIST's shape"


def our_trainer(
    directory: Path, *more: pl.Callback, lengths: bool = False, bar: bool = False, **settings: Any
) -> pl.Trainer:
    """The Trainer that training.train builds from trainer=cpu, logger=csv and callbacks=lengths or none."""
    callbacks = [*more, *([ActivationLengths(flush_every_n_steps=NEVER)] if lengths else [])]
    callbacks += [Hyperparameters(), RanksAgree("0" * 12), Divergence(), LastCheckpoint(directory / "last.ckpt")]
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=[*callbacks, *([TrainingProgress()] if bar else [])],
        logger=[MetricsFile(directory)],
        profiler=NoProfiler(),
        enable_progress_bar=bar,
        default_root_dir=str(directory),
        enable_model_summary=False,
        limit_val_batches=0,  # as a datamodule without validation has it
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **settings,
    )


def training_loader(samples: Samples, batch: int = BATCH) -> TrainingLoader:
    """Of one process."""
    return TrainingLoader(samples, BatchOrder(samples.size, batch))


WAYS: dict[str, Callable[[nn.Module, Samples, Turn], float]] = {
    BARE: bare_turn,
    LIGHTNING: lightning_turn,
    OURS: our_turn,
    OURS_WITH_BAR: partial(our_turn, bar=True),
    LENGTHS: partial(our_turn, lengths=True),
}


def step_seconds(way: str, net: nn.Module, samples: Samples, turn: Turn) -> float:
    """Of a turn of a way, with a copy of the net."""
    return WAYS[way](copy.deepcopy(net), samples, turn)
