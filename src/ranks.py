"""The processes of a run: which one this is, and what all of them hold."""

import multiprocessing

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor


def is_rank_zero() -> bool:
    """Whether this process writes the run's files. Known before a Trainer exists, from what launched the process."""
    return getattr(rank_zero_only, "rank", 0) == 0


def in_terminals_worker() -> bool:
    """Whether this is one of several processes that write on one terminal: joblib's workers."""
    return multiprocessing.current_process().name.startswith("LokyProcess")


def gather(tensor: Tensor) -> Tensor:
    """The tensor of every rank, (ranks, …); a collective that all ranks enter with the same shape.

    Lightning's own, meant for gradients to pass through, rests on a function that torch has deprecated.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return tensor.unsqueeze(0)
    tensors = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(tensors, tensor)
    return torch.stack(tensors)
