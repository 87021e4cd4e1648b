"""Distributed processes of a run: the rank of this process, and gathering tensors of all ranks."""

import multiprocessing

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor


def is_rank_zero() -> bool:
    """Return whether this process has rank 0 and writes the run's files.

    Lightning reads the rank from environment variables, so that it is known before a Trainer exists.
    """
    return getattr(rank_zero_only, "rank", 0) == 0


def in_joblib_worker() -> bool:
    """Return whether this process is a joblib worker, which shares its terminal with other workers."""
    return multiprocessing.current_process().name.startswith("LokyProcess")


def gather(tensor: Tensor) -> Tensor:
    """Stack the tensors of all ranks; all ranks must call this function, with tensors of the same shape.

    It replaces Lightning's `all_gather`, which calls a function that torch has deprecated.

    Args:
        tensor: This rank's tensor, shape (…).

    Returns:
        The tensors of all ranks, shape (ranks, …).
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return tensor.unsqueeze(0)
    tensors = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(tensors, tensor)
    return torch.stack(tensors)


def is_lost_connection(error: BaseException | None) -> bool:
    """Return whether an error says that the connection to another rank was lost, as gloo and NCCL report it."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(name in str(error) for name in ("gloo/", "NCCL"))
