"""Mend the net of a run on a training batch, for `initializer=auto`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from start_training.config.build import build_initializer, build_optimizer
from start_training.config.build_task import build_task
from start_training.cure.auto import Auto
from start_training.cure.fix import fix_
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.initializers.initialization import Initialization
from start_training.ranks import is_rank_zero
from start_training.streams import isolate_random_streams


def mended(net: nn.Module, drawn: Initialization, config: Mapping[str, Any], datamodule: Any) -> Initialization:
    """Mend a net by `fix_` on training samples if its initializer is `Auto`; return what was done.

    Its loss is that of the task, or of the `training_step` of a LightningModule. Only rank 0 mends, since DDP gives all
    ranks the weights of rank 0 when it wraps the net.

    Args:
        net: The net, with the weights that its constructor drew, or a LightningModule of the user's that holds it;
            changed in place.
        drawn: Its initialization so far.
        config: The plain config of the run.
        datamodule: The datamodule; a `TensorDataModule` has loaded its data.

    Raises:
        ValueError: the loss cannot be computed.
    """
    auto = build_initializer(config.get("initializer")) if config.get("initializer") else None
    if not isinstance(auto, Auto) or not is_rank_zero():
        return drawn
    task = build_task(config)
    with isolate_random_streams():
        batch = training_batch(datamodule, auto.samples, auto.seed)
        try:
            cure = fix_(net, batch, loss=task and task.loss, optimizer=build_optimizer(config), seed=config["seed"])
        except ValueError as error:
            raise ValueError(f"initializer = auto: {error}") from error
    return replace(drawn, fixed=cure.summary())


def training_batch(datamodule: Any, samples: int, seed: int) -> Any:
    """Return training samples: at random if they are in memory, otherwise the first batch.

    Args:
        datamodule: The datamodule.
        samples: Greatest number of samples.
        seed: Seed of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(datamodule, TensorDataModule):
        inputs, targets = datamodule.samples("training")[:2]
        rows = torch.randperm(len(inputs), generator=generator)[:samples].to(inputs.device)
        return inputs[rows].cpu(), targets[rows].cpu()
    datamodule.prepare_data()
    datamodule.setup("fit")
    with isolate_random_streams(generator):
        return next(iter(datamodule.train_dataloader()))
