"""Methods to train a net on a data set, and the time of their steps: bare PyTorch, Lightning, a run of this project.

Each turn is a separate training in the calling thread. With a thread for each method, each would have separate OpenMP
threads, which slow each other down.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, redirect_stderr
from functools import partial
from io import StringIO
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks._measuring import Array, in_turns, ratio_and_range, spread
from benchmarks._stepped_fit import silent_trainer
from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.callbacks.divergence import Divergence
from start_training.callbacks.hyperparameters import Hyperparameters
from start_training.callbacks.last_checkpoint import LastCheckpoint
from start_training.callbacks.no_profiler import NoProfiler
from start_training.callbacks.progress import TrainingProgress
from start_training.callbacks.ranks_agree import RanksAgree
from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.loader import TrainingLoader
from start_training.datamodules.samples import Samples
from start_training.models.classifier import Classifier
from start_training.runs.metrics_file import MetricsFile

NEVER = 10**9
SGD = partial(torch.optim.SGD, lr=0.01)
BARE = "bare PyTorch loop"
LIGHTNING = "Lightning, all off"
STEP_COLUMNS = {  # columns of a table of the rows of `step_rows`
    "way": "{way}",
    "ms/step": "{milliseconds:.3f}",
    "added, µs": "{added_microseconds:.0f}",
    "× bare": "{ratio:.3f}",
    "range of rounds": "{range[0]:.3f}–{range[1]:.3f}",
}


class Turn(NamedTuple):
    """A turn of a training: `warm_up` steps, which allocate memory and are not timed, then `steps` timed steps."""

    warm_up: int
    steps: int


Train = Callable[[nn.Module, Samples, Turn], float]  # trains for a turn and returns its seconds per step


class TimedLoader:
    """Loader of the batches of successive epochs; `seconds` is the time of all timed steps of a turn.

    The time is measured from the request of the first batch after the warm-up, with which an epoch begins, to the
    request of the batch after the last, so that it includes loading and processing each batch.
    """

    def __init__(self, epoch: Callable[[int], Iterable[Any]], turn: Turn) -> None:
        self.seconds = float("nan")
        self._epoch = epoch
        self._turn = turn

    def __len__(self) -> int:
        return NEVER  # Lightning would fetch each batch a step early if the loader had no length

    def __iter__(self) -> Iterator[Any]:
        yield from islice(self._epoch(0), self._turn.warm_up)
        start = time.perf_counter()
        yield from islice(chain.from_iterable(map(self._epoch, count(1))), self._turn.steps)
        self.seconds = time.perf_counter() - start


def bare_epoch(samples: Samples, batch: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of an epoch of the bare loop, a random permutation of all samples."""
    inputs, targets = samples
    for rows in torch.randperm(len(targets)).split(batch):
        yield inputs.index_select(0, rows), targets.index_select(0, rows)


def run_epoch(loader: TrainingLoader, epoch: int) -> TrainingLoader:
    """Return the loader of a run of this project, set to an epoch."""
    loader.set_epoch(epoch)
    return loader


def bare_turn(net: nn.Module, samples: Samples, turn: Turn, *, batch: int) -> float:
    """Return the seconds per step of a plain PyTorch training loop."""
    batches, optimizer = TimedLoader(partial(bare_epoch, samples, batch), turn), SGD(net.parameters())
    for inputs, targets in batches:
        loss = cross_entropy(net(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return batches.seconds / turn.steps


class PlainModule(pl.LightningModule):
    """The plain PyTorch training loop as a LightningModule."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        return cross_entropy(self.net(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return SGD(self.parameters())


def lightning_turn(net: nn.Module, samples: Samples, turn: Turn, *, batch: int) -> float:
    """Return the seconds per step of a Lightning Trainer that logs, saves and shows nothing."""
    batches = TimedLoader(partial(bare_epoch, samples, batch), turn)
    silent_trainer("cpu").fit(PlainModule(net), batches)
    return batches.seconds / turn.steps


class HiddenTerminal(StringIO):
    """A stream that claims to be a terminal, so that a progress bar is drawn to it completely but not shown."""

    def isatty(self) -> bool:
        return True


def run_turn(
    net: nn.Module,
    samples: Samples,
    turn: Turn,
    *callbacks: pl.Callback,
    lengths: bool = False,
    bar: bool = False,
    batch: int,
) -> float:
    """Return the seconds per step of a run of scripts/train.py; lengths are measured but not written to disk."""
    batches = TimedLoader(partial(run_epoch, training_loader(samples, batch)), turn)
    fit_run(Classifier(net, SGD, classes=10), batches, *callbacks, lengths=lengths, bar=bar)
    return batches.seconds / turn.steps


def fit_run(
    module: Classifier, batches: Any, *callbacks: pl.Callback, lengths: bool = False, bar: bool = False, epochs: int = 1
) -> None:
    """Train with the Trainer that scripts/train.py builds for trainer=cpu, logger=csv and callbacks=lengths or none."""
    with tempfile.TemporaryDirectory() as directory, redirect_stderr(HiddenTerminal()) if bar else nullcontext():
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            callbacks=[
                *callbacks,
                *([ActivationLengths(flush_every_n_steps=NEVER)] if lengths else []),
                Hyperparameters(),
                RanksAgree("0" * 12),
                Divergence(),
                LastCheckpoint(Path(directory, "last.ckpt")),
                *([TrainingProgress()] if bar else []),
            ],
            logger=[MetricsFile(directory)],
            profiler=NoProfiler(),
            enable_progress_bar=bar,
            default_root_dir=directory,
            enable_model_summary=False,
            limit_val_batches=0,  # as for a datamodule without validation
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            max_epochs=epochs,
        )
        trainer.fit(module, batches, [])


def training_loader(samples: Samples, batch: int, *, batches: int | None = None) -> TrainingLoader:
    """Return the training loader of a run in one process; `batches` limits the number of batches in an epoch."""
    few = Samples(*(tensor[: batches and batches * batch] for tensor in samples))
    return TrainingLoader(few, BatchOrder(few.size, batch))


class HookTimes(pl.Callback):
    """Callback that records the time of every start and end of a step and every end of an epoch."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.epoch_ends: list[float] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, *args: Any) -> None:
        self.ends.append(time.perf_counter())

    def on_train_epoch_end(self, *args: Any) -> None:
        self.epoch_ends.append(time.perf_counter())


def time_steps(
    ways: Mapping[str, Train], net: nn.Module, samples: Samples, turn: Turn, *, turns: int, first: int = 0
) -> Array:
    """Return the seconds per step of each method in each turn, shape (turns, ways).

    Each turn trains a copy of the net. `first` is the number of the first turn, as in `in_turns`.
    """
    trainings = [lambda _, way=way: way(copy.deepcopy(net), samples, turn) for way in ways.values()]
    return np.array(in_turns(trainings, turns, first=first))


def step_rows(ways: Iterable[str], times: Array) -> list[dict[str, Any]]:
    """Return a row of results for each method.

    Args:
        ways: Names of the methods; the first one is the reference.
        times: Seconds per step, shape (rounds, turns, ways).
    Returns:
        Rows with the milliseconds of a step, the microseconds it takes more than the reference, and `ratio` and
        `range`, the median and range over rounds of its time divided by that of the reference.
    """
    rows, bare = [], times[..., 0]
    for way, seconds in zip(ways, np.moveaxis(times, -1, 0), strict=True):
        row = {
            "way": way,
            "milliseconds": 1e3 * float(np.median(seconds)),
            "added_microseconds": 1e6 * spread(seconds - bare).median,
            **ratio_and_range(seconds / bare),
        }
        rows.append(row)
    return rows
