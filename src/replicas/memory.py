"""How many replicas fit into memory, and how many into a CPU's caches at a time."""

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

SHARE = 0.6  # of what is free: the rest is for the data, torch's own buffers, and what this estimate leaves out
STATES = {"SGD": 1, "Adam": 2, "AdamW": 2}  # tensors that an optimizer keeps of each parameter
BACKWARD = 2  # times what the forward pass keeps: the backward pass adds gradients of activations
EVALUATION = 3  # times a layer's output: its input, its product, and that with the bias
MEMORY = Path("/proc/meminfo")
CGROUPS = (  # limit and use: version 2, version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
# On a CPU: the bytes that one activation of all replicas in a pass may have. Larger ones do not fit into its caches,
# and a pass of all takes up to twice as long as several passes of a few replicas each.
CACHE = 2**24
# On a CPU: the bytes of one parameter above which products of several replicas are no faster than those of one, while
# a net on its own keeps such weights in the caches from one step to the next.
WEIGHT = 400_000


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
    with isolate_random_streams():  # dropout draws
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
    """Memory that autograd keeps of a forward pass and its loss, besides parameters, buffers and inputs."""
    targets = torch.zeros(len(inputs), dtype=torch.long)
    saved = _saved_tensors(lambda: functional.cross_entropy(net(inputs), targets), net, inputs)
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in saved}.values())


def _saved_tensors(forward: Callable[[], Tensor], net: nn.Module, inputs: Tensor) -> list[Tensor]:
    saved: list[Tensor] = []  # all of them, or the next tensor could get the address of one that is gone

    def save(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        forward()
    others = {tensor.untyped_storage().data_ptr() for tensor in (inputs, *net.parameters(), *net.buffers())}
    return [tensor for tensor in saved if tensor.untyped_storage().data_ptr() not in others]


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


def together(stack: Stack, batches: GroupBatches) -> int:
    """How many replicas to evaluate in one pass: on a GPU all, on a CPU as many as fit into its caches."""
    if stack.parameters.device.type != "cpu":
        return len(stack)
    if outgrows_caches(stack.template):
        return 1
    largest = largest_activation(stack.template, batches.samples.inputs[:2]) * batches.size(0) / 2
    return max(1, min(len(stack), int(CACHE // max(largest, 1))))


def outgrows_caches(net: nn.Module) -> bool:
    """Whether a parameter is so large that on a CPU replicas train no faster together."""
    return any(parameter.nbytes > WEIGHT for parameter in net.parameters() if parameter.requires_grad)


def largest_activation(net: nn.Module, inputs: Tensor) -> int:
    """Bytes of the largest tensor that autograd keeps of a forward pass of these samples."""
    net = copy.deepcopy(net)
    return max((tensor.nbytes for tensor in _saved_tensors(lambda: net(inputs), net, inputs)), default=0)


def spans_of(replicas: int, size: int) -> list[slice]:
    """Split range(replicas) into slices of at most `size`, of sizes as equal as possible."""
    parts = max(1, -(-replicas // size))
    edges = [replicas * part // parts for part in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of the CPU or a GPU."""
    messages = (
        "can't allocate memory",
        "CUDA error: out of memory",
        "STATUS_ALLOC_FAILED",
    )  # the last by cuBLAS, cuDNN
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(message in str(error) for message in messages)
