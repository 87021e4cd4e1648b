"""One rank of a short training, on the one device that all ranks share."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

from benchmarks._interleaved import silent_trainer
from benchmarks._nets import build_twins, dense
from benchmarks.callback import classifier
from benchmarks.gpu_parts.recorded import STEPS
from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.datamodules.random_inputs import RandomInputs
from start_training.training.train import quiet_lightning


class RankZeroOfTwo(RandomInputs):
    """The share of every batch that rank 0 of two ranks has, for a training without DDP."""

    _ranks = (2, 0)


def train(directory: Path, *, device: str, tiny: bool, data: type[RandomInputs] = RandomInputs, **trainer: Any) -> None:
    """A few steps of a fully connected net, whose tables go into the directory."""
    case = dense(3, 16, 1, batch=24) if tiny else dense(10, 500, 1, batch=768)
    (net, _), _ = build_twins(case, "cpu")
    batch, width = case.batch
    samples = data(width, case.classes, samples=batch, test_samples=0, batch_size=batch // STEPS, validation=0.0)
    lengths = ActivationLengths(directory)
    fit = silent_trainer(device, callbacks=lengths, default_root_dir=str(directory), **trainer)
    fit.fit(classifier(net, case, False), datamodule=samples)


def strategy(device: str, backend: str, ranks: int) -> DDPStrategy:
    """DDP of so many ranks, all on device 0; Lightning by itself would ask for as many GPUs."""
    where = torch.device("cuda", 0) if device == "cuda" else torch.device("cpu")
    ranks_by_variables = LightningEnvironment()  # also where SLURM has started this
    return DDPStrategy(
        parallel_devices=[where] * ranks, process_group_backend=backend, cluster_environment=ranks_by_variables
    )


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    ddp = strategy(order["device"], order["backend"], order["ranks"])
    with quiet_lightning():
        train(Path(order["directory"]), device=order["device"], tiny=order["tiny"], strategy=ddp)
        torch.distributed.destroy_process_group()
