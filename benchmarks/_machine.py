"""What a benchmark runs on: as asked for on the command line, and as the results have to say."""

import argparse
import os
from typing import Any

import torch

from start_training.settings import one_of, positive_integer


def chosen_device(options: argparse.Namespace) -> str:
    """`cpu` or `cuda`, with as many threads as asked for. Raises ValueError for a device that is not here."""
    device = one_of("device", options.device, ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = cuda: no such device here")
    if options.threads is not None:
        torch.set_num_threads(positive_integer("threads", options.threads))
    return device


def environment(device: str, **more: Any) -> dict[str, Any]:
    """What the results depend on beside the code; the load is what else ran in the minute before."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **more,
        "load": round(os.getloadavg()[0], 1),
    }
