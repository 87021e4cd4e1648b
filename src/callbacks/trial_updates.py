"""Take optimizer steps at given learning rates outside the training loop, and undo them afterwards."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count, islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer

from start_training.callbacks.evaluation import transfer_batch
from start_training.callbacks.snapshot import restored
from start_training.stop_signals import raising
from start_training.streams import isolate_random_streams


@contextmanager
def undone_updates(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator["TrialUpdates"]:
    """Provide `TrialUpdates` within the block, and undo the optimizer steps at its end, also after an error.

    Restored are weights, buffers, modes, metrics and other plain attributes of all modules, the optimizer's state,
    learning rates and momenta, the gradient scaler of 16-bit training, the positions of the data loaders and all random
    streams. Within the block no callback hooks are called, nothing is logged, and the trainer counts no steps.
    """
    loaders = _training_loaders(trainer)
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    stateful = [*module.modules(), *trainer.optimizers, *_loaders_and_samplers(loaders), *([scaler] if scaler else [])]
    callbacks, loggers = vars(trainer)["callbacks"], trainer.loggers  # pl.Trainer does not declare `callbacks`
    # Anomaly detection is off, since a range test continues until the loss is not finite.
    with restored(*stateful), isolate_random_streams(), torch.autograd.set_detect_anomaly(False):
        try:
            vars(trainer)["callbacks"], trainer.loggers = [], [DummyLogger() for _ in loggers]
            for child in module.modules():
                if isinstance(child, pl.LightningModule):
                    vars(child)["log"] = lambda *_, **__: None
            yield TrialUpdates(trainer, module)
        finally:
            vars(trainer)["callbacks"], trainer.loggers = callbacks, loggers


def check_updates(trainer: pl.Trainer, module: pl.LightningModule, name: str, *, ends: bool) -> None:
    """Raise ValueError if `TrialUpdates` cannot train the module, or if the run cannot end after them.

    Args:
        name: Name of the callback in messages.
        ends: Whether the callback then ends the run without training.
    """
    kind, optimizers = type(module).__name__, len(trainer.optimizers)
    if not module.automatic_optimization:
        raise ValueError(f"{name}: {kind} has automatic_optimization = False; the range test needs True")
    if optimizers != 1:
        raise ValueError(f"{name}: {kind} has {optimizers} optimizers; the range test needs exactly one")
    for setting, least in (("min_steps", trainer.min_steps), ("min_epochs", trainer.min_epochs)):
        if ends and least:
            raise ValueError(
                f"{setting} = {least}: must be left out with {name}.stop = true, which ends the run before training"
            )


def interruptible(trainer: pl.Trainer) -> AbstractContextManager[None]:
    """Let a signal end the block at once; several ranks have to end at the same update instead, as the caller does."""
    return raising() if trainer.world_size == 1 else nullcontext()


class TrialUpdates:
    """Take optimizer steps on the training batches, with the trainer's strategy, precision, clipping and accumulation.

    The batches come in the order of the training loader. Momentum has the value that the optimizer was constructed
    with, even if a schedule has changed it.
    """

    def __init__(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._trainer, self._module = trainer, module
        self._optimizer: Optimizer = trainer.optimizers[0]
        groups = self._optimizer.param_groups
        rates = [float(group.get("initial_lr", group["lr"])) for group in groups]
        self._ratios = [rate / max(rates) if max(rates) else 1.0 for rate in rates]
        if trainer.lr_scheduler_configs:
            for key in ("momentum", "betas"):
                for group in groups if key in self._optimizer.defaults else []:
                    group[key] = self._optimizer.defaults[key]
        self._batches = _batches(trainer)

    def skip(self, updates: int) -> None:
        """Pass over the batches of a number of optimizer steps."""
        for _ in range(updates * self._trainer.accumulate_grad_batches):
            next(self._batches)

    def update(self, rate: float) -> Tensor:
        """Take one optimizer step.

        Args:
            rate: The learning rate of the parameter group whose rate is largest; other groups keep their ratio to it.
        Returns:
            The loss before the step on this rank's part of the batch, averaged over accumulated batches.
        """
        trainer, module = self._trainer, self._module
        batches = [next(self._batches) for _ in range(trainer.accumulate_grad_batches)]
        losses: dict[int, Tensor] = {}

        def closure(position: int) -> Tensor:
            batch, index = batches[position]
            self._set_rates(rate)  # set in every call, because a custom optimizer_step may change it
            with torch.enable_grad():
                loss = _loss(trainer.strategy.training_step(*_arguments(module, batch, index)))
                losses.setdefault(position, loss.detach())  # some optimizers call the closure several times
                if position == 0:
                    module.on_before_zero_grad(self._optimizer)
                    module.optimizer_zero_grad(trainer.current_epoch, index, self._optimizer)
                trainer.strategy.backward(loss / len(batches), self._optimizer)
            return loss

        *others, last = range(len(batches))
        strategy = trainer.strategy
        for position in others:
            with strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext():
                closure(position)
        optimizer: Any = module.optimizers()
        module.optimizer_step(trainer.current_epoch, batches[last][1], optimizer, lambda: closure(last))
        return torch.stack([loss.double() for loss in losses.values()]).mean()

    def _set_rates(self, rate: float) -> None:
        for group, ratio in zip(self._optimizer.param_groups, self._ratios, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * ratio)
            else:
                group["lr"] = rate * ratio


def _batches(trainer: pl.Trainer) -> Iterator[tuple[Any, int]]:
    """Yield training batches on the device, with their index in the epoch, endlessly from the current epoch on."""
    combined = copy.copy(trainer.fit_loop._combined_loader)
    assert combined is not None
    limit = trainer.num_training_batches
    for loader in combined.flattened:
        if getattr(loader, "_iterator", None) is not None:
            loader._iterator = None  # a new iterator, since persistent workers have prefetched batches of the run
    for epoch in count(trainer.current_epoch):
        for part in _loaders_and_samplers(combined.flattened):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        index = None
        for batch, index, _ in islice(combined, None if limit == float("inf") else int(limit)):
            yield transfer_batch(trainer, batch), index
        if index is None:  # an exhausted IterableDataset, which is empty in every further epoch
            raise _iterated_once(combined.flattened[0])


def _training_loaders(trainer: pl.Trainer) -> list[Any]:
    combined = trainer.fit_loop._combined_loader
    assert combined is not None
    for loader in combined.flattened:
        if isinstance(loader, Iterator):
            raise _iterated_once(loader)
    return combined.flattened


def _iterated_once(loader: Any) -> ValueError:
    name = type(getattr(loader, "dataset", loader)).__name__
    return ValueError(
        f"{name}: training data can be iterated only once; the range test needs a DataLoader, with data that can be "
        "iterated again in each epoch"
    )


def _loaders_and_samplers(loaders: list[Any]) -> list[Any]:
    parts = []
    for loader in loaders:
        batch_sampler = getattr(loader, "batch_sampler", None)
        parts += [loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]
    return [part for part in parts if hasattr(part, "__dict__")]


def _arguments(module: pl.LightningModule, batch: Any, index: int) -> tuple[Any, ...]:
    return (batch, index) if is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2) else (batch,)


def _loss(output: Any) -> Tensor:
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise ValueError(f"training_step: returned {output!r}; has to return a loss, or a mapping with the key loss")
    return loss
