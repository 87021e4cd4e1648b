"""Check that ActivationLengths records the same with several DDP processes on one device as with one process.

The processes divide the samples of every step among them. The reference is a training on the device in one process
without DDP. On one GPU, NCCL supports one process with DDP; it refuses two ("Duplicate GPU detected"), and then its
message is the finding. Gloo is tried with two processes. A negative control compares the reference with a training on
the samples of rank 0 only, as if the gather included one rank only.
"""

import os
import re
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessException

from benchmarks._nets import dense
from benchmarks._stepped_fit import silent_trainer
from benchmarks.gpu_parts.correctness import STEPS, Tolerance, deviations, read_tables, verdict
from benchmarks.gpu_parts.parts import FINDING, Case
from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.datamodules.random_inputs import RandomInputs
from start_training.training.process_settings import quiet_lightning

TOLERANCE = Tolerance(1e-4, 1e-3)
REFUSALS = ("Duplicate GPU", "ncclInvalidUsage", "NCCL error")  # texts in the error of a rank, most specific first
SOURCE = re.compile(r'File "|raise ')  # matches source lines of a traceback
PATIENCE = 5.0  # seconds for other ranks to notice and report that a rank has failed


def cases(device: str, *, tiny: bool) -> list[Case]:
    """Return a case for each supported combination of backend and number of processes."""
    worlds = [("nccl", 1), ("gloo", 2), ("nccl", 2)] if device == "cuda" else [("gloo", 2)]
    return [
        Case(f"{'a process' if ranks == 1 else f'{ranks} processes'}, {backend}",
             partial(measure, backend, ranks, device, tiny))
        for backend, ranks in worlds
    ]  # fmt: skip


def measure(backend: str, ranks: int, device: str, tiny: bool, seconds: float) -> dict[str, Any]:
    """Train with DDP, without DDP, and with half of the samples, and compare the recorded lengths."""
    world = {"backend": backend, "ranks": ranks}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("several", "one", "half")]
        if refusal := _train_ranks(paths[0], backend, ranks, device, tiny, seconds):
            return {**world, "refused": refusal, FINDING: f"not supported or failed: {refusal}"}
        for path, data in zip(paths[1:], (RandomInputs, RankZeroOfTwo), strict=True):
            train(path, device, tiny, data=data)
        several, one, half = map(read_tables, paths)
    half[0]["count"] = one[0]["count"]  # counts differ necessarily; the control is about the other columns
    return {**world, **verdict(deviations(one, several), deviations(one, half), TOLERANCE)}


class RankZeroOfTwo(RandomInputs):
    """Data for a training without DDP: the half of every batch that rank 0 of two ranks gets."""

    _ranks = (2, 0)


def train(directory: Path, device: str, tiny: bool, *, data: type[RandomInputs] = RandomInputs, **trainer: Any) -> None:
    """Train a fully connected net for a few steps; ActivationLengths writes its tables to the directory."""
    net = dense(3, 16, batch=24) if tiny else dense(10, 500, batch=768)
    (module, _), (inputs, _) = net.twins("cpu")
    batch, width = inputs.shape
    samples = data(width, net.classes, samples=batch, test_samples=0, batch_size=batch // STEPS, validation=0.0)
    lengths = ActivationLengths(directory)
    fit = silent_trainer(device, callbacks=lengths, default_root_dir=str(directory), **trainer)
    fit.fit(net.classifier(module), datamodule=samples)


def train_rank(rank: int, port: int, directory: Path, device: str, tiny: bool, backend: str, ranks: int) -> None:
    """Train with DDP in the process of a rank, with all ranks on device 0.

    By default, Lightning would require a GPU for each rank.
    """
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    devices = [torch.device("cuda", 0) if device == "cuda" else torch.device("cpu")] * ranks
    ddp = DDPStrategy(
        parallel_devices=devices,
        process_group_backend=backend,
        cluster_environment=LightningEnvironment(),  # use the variables above, even in a job of SLURM
    )
    with quiet_lightning():
        train(directory, device, tiny, strategy=ddp)
        torch.distributed.destroy_process_group()


def _train_ranks(path: Path, backend: str, ranks: int, device: str, tiny: bool, seconds: float) -> str | None:
    """Train all ranks and return None, or the reason why their training failed or did not end in time."""
    deadline, arguments = time.monotonic() + seconds, (find_free_network_port(), path, device, tiny, backend, ranks)
    world = torch.multiprocessing.spawn(train_rank, arguments, ranks, join=False)
    try:
        while not world.join(max(deadline - time.monotonic(), 0), grace_period=PATIENCE):
            if time.monotonic() > deadline:
                return f"training did not end within {seconds:.0f} s"
    except ProcessException as error:
        print(error, file=sys.stderr)
        return most_informative_line(str(error))
    finally:
        for process in world.processes:
            process.kill()
    return None


def most_informative_line(output: str) -> str:
    """Return the most informative line of the error of a rank: a message of NCCL, or else the last line."""
    lines = [line.strip()[:300] for line in output.splitlines() if line.strip()]
    messages = [line for sign in REFUSALS for line in lines if sign in line and not SOURCE.search(line)]
    return [*messages, lines[-1]][0]
