"""Settings of the whole process that a run changes: random streams, environment variables, log levels."""

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_global_generators(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch, without setting environment variables."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def restored_process_settings() -> Iterator[None]:
    """Restore process-wide settings that a Trainer changes: environment variables, deterministic algorithms, cuDNN."""
    environment, deterministic = dict(os.environ), torch.are_deterministic_algorithms_enabled()
    warns, benchmark = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress Lightning's INFO messages (such as the devices found) within the block, but not its warnings."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Lightning 2.6.6 calls a function of torch's pytree module that torch 2.15 deprecates.
        warnings.filterwarnings("ignore", message=".isinstance.treespec, LeafSpec", category=FutureWarning)
        # Metrics that a module of the user's logs per step are written every 50 steps, also if epochs are shorter.
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval")
        # `load_datamodule` says it, also for several optimizers.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
        # A datamodule of the user's may have no validation data, and its validation then never runs.
        warnings.filterwarnings("ignore", message="You defined a `validation_step` but have no `val_dataloader`")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
