"""How many replicas to take through a pass at once: what a CPU's caches bear, or memory."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from start_training.replicas.batches import Batches
from start_training.replicas.stack import Stack

# On a CPU. Of one activation of all replicas that go together, in bytes: larger ones leave its caches, and take up to
# twice as long as a few replicas at a time.
CACHE = 2**24
# Of one parameter, in bytes: products with larger ones gain nothing from company, and lose the caches to it, where a
# run by itself keeps its weights from one step to the next.
WEIGHT = 400_000


def together(stack: Stack, batches: Batches) -> int:
    """How many replicas to take through a pass at once: all on a GPU, on a CPU as many as its caches bear."""
    if stack.parameters.device.type != "cpu":
        return len(stack)
    if outgrows_caches(stack.template):
        return 1
    largest = largest_activation(stack.template, batches.samples.inputs[:2]) * batches.size(0) / 2
    return max(1, min(len(stack), int(CACHE // max(largest, 1))))


def outgrows_caches(net: nn.Module) -> bool:
    """Whether its largest parameter is such that on a CPU replicas gain nothing from each other."""
    return (
        max((each.numel() * each.element_size() for each in net.parameters() if each.requires_grad), default=0) > WEIGHT
    )


def largest_activation(net: nn.Module, inputs: Tensor) -> int:
    """Bytes of the largest tensor that a backward pass keeps of these samples, inputs and parameters aside."""
    net, sizes = copy.deepcopy(net), [0]
    others = {each.untyped_storage().data_ptr() for each in (inputs, *net.parameters())}

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in others:
            sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        net(inputs).sum()
    return max(sizes)


def spans_of(replicas: int, size: int) -> list[slice]:
    """So many at a time, as evenly as possible."""
    parts = max(1, -(-replicas // size))
    edges = [replicas * part // parts for part in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, or Python, was refused memory that fewer replicas would not have needed."""
    said = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")  # the last by cuBLAS, cuDNN
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(each in str(error) for each in said)
