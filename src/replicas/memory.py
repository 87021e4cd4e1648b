"""Estimate how many replicas fit into memory, and how many into the CPU's caches in one pass."""

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from start_training.datamodules.tensor_datamodule import EVALUATION_BATCH, TensorDataModule
from start_training.replicas.batches import GroupBatches
from start_training.replicas.stack import Stack
from start_training.streams import isolate_random_streams

SHARE = 0.6  # share of free memory to use; the rest is for data, torch's buffers and errors of this estimate
STATES = {"SGD": 1, "Adam": 2, "AdamW": 2}  # number of state tensors per parameter
BACKWARD = 2  # memory of the backward pass relative to the saved activations: it adds their gradients
EVALUATION = 3  # memory of evaluation relative to the largest output: input, matrix product, sum with the bias
MEMORY = Path("/proc/meminfo")
CGROUPS = (  # files with limit and usage, for cgroup versions 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
# On a CPU: maximum size, in bytes, of an activation of all replicas in one pass. Larger activations do not fit into the
# caches, and one pass of all replicas takes up to twice as long as several passes of a few replicas each.
CACHE = 2**24
# On a CPU: size of a parameter, in bytes, above which training replicas together is no faster than one by one. A single
# net keeps such weights in the caches between steps.
WEIGHT = 400_000


def replica_bytes(config: Mapping[str, Any], net: nn.Module, datamodule: TensorDataModule) -> int:
    """Estimate the memory of a replica in bytes, from its job's config and the net and datamodule built from it."""
    if config["trainer"].get("precision") == "64-true":
        net = copy.deepcopy(net).double()
    return bytes_per_replica(net, datamodule.input_shape, datamodule.batch_size, states=optimizer_states(config))


def optimizer_states(config: Mapping[str, Any]) -> int:
    """Return the number of state tensors per parameter of the config's optimizer: 0 for SGD without momentum."""
    optimizer = config["optimizer"]
    return STATES[optimizer["_target_"].rpartition(".")[2]] if optimizer.get("momentum", 1) else 0


def bytes_per_replica(net: nn.Module, input_shape: tuple[int, ...], batch_size: int, *, states: int) -> int:
    """Estimate the peak memory, in bytes, that one more replica needs in a training step.

    The sum of: P (2 + s) bytes for parameters, gradients and s optimizer states; P (1 + s) for the copy of parameters
    and states made at the end of an epoch; BACKWARD times the tensors that autograd saves; and the batch. The saved
    tensors are extrapolated linearly in the batch size from two small passes. If evaluation needs more memory than the
    training pass, its memory counts instead.

    Args:
        input_shape: The shape of a sample's inputs.
        batch_size: The number of samples in a training batch.
        states: The number s of optimizer states per parameter.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())
    batch = _sample(net, input_shape, 1).nbytes
    with isolate_random_streams():  # dropout draws random numbers
        two, four = (_saved_bytes(net, _sample(net, input_shape, samples)) for samples in (2, 4))
        largest = _largest_output_bytes(net, _sample(net, input_shape, 2)) / 2
    slope = max(0, four - two) / 2
    training = BACKWARD * (two + slope * (batch_size - 2)) + batch * batch_size
    evaluation = EVALUATION * largest * max(batch_size, EVALUATION_BATCH)
    return round(weights * (3 + 2 * states) + max(training, evaluation))


def available_bytes(accelerator: str) -> int | None:
    """Return the memory available for training on a device, in bytes; None if it is unknown.

    On the CPU: MemAvailable of /proc/meminfo, or less if the limit of this process's cgroup is lower.

    Args:
        accelerator: As Lightning's Trainer: `cpu`, `gpu`, `cuda` or `auto`.
    """
    cuda = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and cuda):
        if not cuda:
            return None
        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()  # by torch's allocator, reusable
        return torch.cuda.mem_get_info()[0] + cached
    if accelerator not in ("cpu", "auto") or not MEMORY.exists():
        return None
    line = next(line for line in MEMORY.read_text().splitlines() if line.startswith("MemAvailable:"))
    cgroups = [_cgroup_bytes_left(*files) for files in CGROUPS]
    return min([int(line.split()[1]) * 1024, *(left for left in cgroups if left is not None)])


def _cgroup_bytes_left(limit: str, used: str) -> int | None:
    """Return the bytes that the cgroup of this process may still allocate; None without a cgroup or a limit.

    Args:
        limit: The file with the limit.
        used: The file with the current usage.
    """
    if not (Path(limit).exists() and Path(used).exists()):
        return None
    allowed = Path(limit).read_text().strip()
    return int(allowed) - int(Path(used).read_text()) if allowed.isdigit() else None


def _sample(net: nn.Module, input_shape: tuple[int, ...], samples: int) -> Tensor:
    parameter = next(net.parameters(), torch.empty(0))
    return torch.zeros(samples, *input_shape, dtype=parameter.dtype)


def _saved_bytes(net: nn.Module, inputs: Tensor) -> int:
    """Measure the bytes that autograd saves in a forward pass with its loss, without parameters, buffers and inputs."""
    targets = torch.zeros(len(inputs), dtype=torch.long)
    saved = _saved_tensors(lambda: functional.cross_entropy(net(inputs), targets), net, inputs)
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in saved}.values())


def _saved_tensors(forward: Callable[[], Tensor], net: nn.Module, inputs: Tensor) -> list[Tensor]:
    saved: list[Tensor] = []  # all are kept, since the addresses of freed tensors are reused

    def save(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        forward()
    others = {tensor.untyped_storage().data_ptr() for tensor in (inputs, *net.parameters(), *net.buffers())}
    return [tensor for tensor in saved if tensor.untyped_storage().data_ptr() not in others]


def _largest_output_bytes(net: nn.Module, inputs: Tensor) -> int:
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


def replicas_per_pass(stack: Stack, batches: GroupBatches) -> int:
    """Return the number of replicas to run in one pass: all on a GPU, as many as fit into the caches on a CPU."""
    if stack.parameters.device.type != "cpu":
        return len(stack)
    if outgrows_caches(stack.template):
        return 1
    largest = largest_activation(stack.template, batches.samples.inputs[:2]) * batches.size(0) / 2
    return max(1, min(len(stack), int(CACHE // max(largest, 1))))


def outgrows_caches(net: nn.Module) -> bool:
    """Return whether a parameter is so large that training replicas together on a CPU is no faster than one by one."""
    return any(parameter.nbytes > WEIGHT for parameter in net.parameters() if parameter.requires_grad)


def largest_activation(net: nn.Module, inputs: Tensor) -> int:
    """Measure the bytes of the largest tensor that autograd saves in a forward pass of the given inputs."""
    net = copy.deepcopy(net)
    return max((tensor.nbytes for tensor in _saved_tensors(lambda: net(inputs), net, inputs)), default=0)


def spans_of(replicas: int, size: int) -> list[slice]:
    """Split `replicas` rows into slices of at most `size` rows, of lengths as equal as possible."""
    parts = max(1, -(-replicas // size))
    edges = [replicas * part // parts for part in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error was raised because the memory of the CPU or a GPU was exhausted."""
    # STATUS_ALLOC_FAILED is from cuBLAS and cuDNN.
    messages = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(message in str(error) for message in messages)
