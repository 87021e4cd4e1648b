"""Within an epoch a group never waits for its device, and sends nothing to it.

On torch's `meta` device, which has shapes and no values: whatever would wait for a value raises an error.
"""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, AdamW
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.callbacks.start_of_training import StartOfTraining
from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.loader import EvaluationLoader
from start_training.datamodules.samples import Samples
from start_training.lengths import activation_length
from start_training.replicas import forward_pass
from start_training.replicas.group import ReplicaGroup
from start_training.replicas.group_evaluation import Sets
from start_training.replicas.log import ReplicaLog
from start_training.replicas.replica import Replica
from start_training.schedules.one_cycle import OneCycle
from tests.replicas.nets import Normalized, Patches

BATCH = 8


class Numbers(TorchFunctionMode):
    """Counts tensors created from Python numbers."""

    count = 0

    def __torch_function__(self, function, types, arguments=(), named=None):
        self.count += function is torch.tensor
        return function(*arguments, **(named or {}))


class Crossings(TorchDispatchMode):
    """Counts operations whose tensors are on several devices."""

    count = 0

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        output = operation(*arguments, **(named or {}))
        tensors = [leaf for leaf in tree_leaves((arguments, named, output)) if isinstance(leaf, Tensor)]
        self.count += len({tensor.device for tensor in tensors if tensor.dim()}) > 1
        return output


def samples(size: int) -> Samples:
    return Samples(torch.empty(size, 6, device="meta"), torch.empty(size, dtype=torch.int64, device="meta"))


def group(path: Path, *, batches: int = 5, kind=Normalized, optimizer=SGD, looks: bool = False) -> ReplicaGroup:
    replicas = []
    for seed in range(3):
        with torch.device("meta"):
            net = kind(6, 3)
        net_optimizer = optimizer(net.parameters(), lr=0.1)
        callbacks = [ActivationLengths(), *([StartOfTraining(every_n_steps=1)] if looks else [])]
        order = BatchOrder(batches * BATCH - 1, BATCH, seed=seed)
        schedule = OneCycle(net_optimizer, total_steps=2 * batches)
        replicas.append(Replica(net, net_optimizer, schedule, callbacks, order, path, ReplicaLog(path), max_epochs=2))
    sets = Sets(samples(batches * BATCH - 1), EvaluationLoader(samples(4), 4), None)
    return ReplicaGroup(replicas, sets, on_end=lambda *_: None)


def trained(group: ReplicaGroup) -> int:
    """Count the steps until a value is first read from the device."""
    with pytest.raises(RuntimeError, match="meta tensor"):
        group.train()
    return group.step


@pytest.mark.parametrize(
    ("kind", "optimizer", "few"),
    [(Normalized, partial(SGD, momentum=0.9, weight_decay=0.01), True), (Patches, AdamW, False)],
)
def test_no_value_is_read_from_the_device_before_the_end_of_an_epoch(kind, optimizer, few, tmp_path, monkeypatch):
    """For nets with small activations, and for activations that are measured for all replicas at once."""
    if not few:
        monkeypatch.setattr(forward_pass, "FEW_VALUES", 0)
        monkeypatch.setattr(activation_length, "FEW_VALUES", 0)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)  # torch does not support it on this device
    assert trained(group(tmp_path, kind=kind, optimizer=optimizer)) == 5


def test_a_callback_that_measures_after_every_step_waits_for_the_device(tmp_path):
    assert trained(group(tmp_path, looks=True)) == 1


def test_the_number_of_transfers_does_not_grow_with_the_steps_of_an_epoch(tmp_path):
    sent = []
    for batches in (5, 10):
        with Crossings() as crossings, Numbers() as numbers:
            trained(group(tmp_path, batches=batches))
        sent.append(crossings.count + numbers.count)
    assert 0 < sent[0] == sent[1]
