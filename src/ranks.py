"""The processes of a run: which one this is, and tensors of all of them."""

import multiprocessing

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor


def is_rank_zero() -> bool:
    """Whether this process writes the run's files; known from environment variables before a Trainer exists."""
    return getattr(rank_zero_only, "rank", 0) == 0


def in_terminals_worker() -> bool:
    """Whether this process is a worker of joblib, several of which write to the same terminal."""
    return multiprocessing.current_process().name.startswith("LokyProcess")


def gather(tensor: Tensor) -> Tensor:
    """The tensors of all ranks: a collective, which all ranks must call with tensors of the same shape.

    Lightning's `all_gather`, through which gradients pass, uses a function that torch has deprecated.

    Returns:
        Shape (ranks, …).
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return tensor.unsqueeze(0)
    tensors = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(tensors, tensor)
    return torch.stack(tensors)
