"""How much memory a replica takes while it trains, told before any has been tried."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from start_training.datamodules.tensor_datamodule import EVALUATION_BATCH, TensorDataModule

SHARE = 0.6  # of what is free: the rest is for the data, torch's own buffers, and what this estimate leaves out
STATES = {"SGD": 1, "Adam": 2, "AdamW": 2}  # tensors that an optimizer keeps of each parameter
BACKWARD = 2  # times what the forward pass keeps: the backward pass adds gradients of activations
EVALUATION = 3  # times a layer's output: its input, its product, and that with the bias
MEMORY = Path("/proc/meminfo")
CGROUPS = (  # limit and use: version 2, version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def replica_bytes(config: Mapping[str, Any], net: nn.Module, datamodule: TensorDataModule) -> int:
    """Bytes that a replica takes in the job of a plain config, whose net and datamodule these are."""
    if config["trainer"].get("precision") == "64-true":
        net = copy.deepcopy(net).double()
    return bytes_per_replica(net, datamodule.input_shape, datamodule.batch_size, states=optimizer_states(config))


def optimizer_states(config: Mapping[str, Any]) -> int:
    """How many tensors the config's optimizer keeps of each parameter: SGD without momentum none."""
    optimizer = config["optimizer"]
    return STATES[optimizer["_target_"].rpartition(".")[2]] if optimizer.get("momentum", 1) else 0


def bytes_per_replica(net: nn.Module, input_shape: tuple[int, ...], batch_size: int, *, states: int) -> int:
    """Peak memory of one net more in a stacked training step: weights, what autograd keeps, batch.

    P (1 + 1 + s) bytes of parameters, gradients and the optimizer's s states, P (1 + s) of their copy from the
    epoch's start; BACKWARD times what a forward pass of the batch saves for the backward pass, found from passes of
    two sizes, between which it is linear; and the batch. Evaluation, which saves nothing, counts where it takes more.
    """
    weights = sum(each.numel() * each.element_size() for each in net.state_dict().values())
    batch = _sample(net, input_shape, 1).nbytes
    with torch.random.fork_rng(devices=[]):  # dropout draws
        two, four = (_saved_bytes(net, _sample(net, input_shape, samples)) for samples in (2, 4))
        largest = _largest_output(net, _sample(net, input_shape, 2)) / 2
    slope = max(0, four - two) / 2
    training = BACKWARD * (two + slope * (batch_size - 2)) + batch * batch_size
    evaluation = EVALUATION * largest * max(batch_size, EVALUATION_BATCH)
    return round(weights * (3 + 2 * states) + max(training, evaluation))


def available_bytes(accelerator: str) -> int | None:
    """Memory that is free for training on this machine's device; None where it cannot be told.

    On the CPU what the system calls available, or what the limit of this process's control group leaves.
    """
    cuda = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and cuda):
        if not cuda:
            return None
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()  # by torch, of groups of this process
        return torch.cuda.mem_get_info()[0] + kept
    if accelerator not in ("cpu", "auto") or not MEMORY.exists():
        return None
    line = next(line for line in MEMORY.read_text().splitlines() if line.startswith("MemAvailable:"))
    return min([int(line.split()[1]) * 1024, *(left for files in CGROUPS if (left := _left(*files)) is not None)])


def _left(limit: str, used: str) -> int | None:
    """What a control group may still take; None where there is none, or it has no limit."""
    if not (Path(limit).exists() and Path(used).exists()):
        return None
    allowed = Path(limit).read_text().strip()
    return int(allowed) - int(Path(used).read_text()) if allowed.isdigit() else None


def _sample(net: nn.Module, input_shape: tuple[int, ...], samples: int) -> Tensor:
    parameter = next(net.parameters(), torch.empty(0))
    return torch.zeros(samples, *input_shape, dtype=parameter.dtype)


def _saved_bytes(net: nn.Module, inputs: Tensor) -> int:
    """What autograd keeps of a forward pass and its loss, beside the parameters and the inputs."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # or the next tensor could get its address
        return tensor

    held = [inputs, *net.parameters(), *net.buffers()]
    others = {tensor.untyped_storage().data_ptr() for tensor in held}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = net(inputs)
        functional.cross_entropy(logits, torch.zeros(len(inputs), dtype=torch.long))
    return sum(size for address, size in kept.items() if address not in others)


def _largest_output(net: nn.Module, inputs: Tensor) -> int:
    """Bytes of the largest output of any of its modules; the inputs of an evaluation are the same for all."""
    sizes = [0]
    handles = [
        module.register_forward_hook(lambda _, __, output: sizes.append(getattr(output, "nbytes", 0)))
        for module in net.modules()
    ]
    try:
        with torch.no_grad():
            net(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return max(sizes)
