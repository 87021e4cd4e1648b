"""A group that does not fit into memory is trained in smaller groups, with the same results."""

import gc
import weakref

import pytest
import torch

from start_training.replicas import group_evaluation
from start_training.replicas.group import ReplicaGroup
from start_training.replicas.stack import Stack
from tests.replica_jobs import DOUBLE, assert_same_runs, together
from tests.small_runs import composed


@pytest.fixture
def too_little():
    """Raise torch's error if a group has more replicas than fit; disables automatic garbage collection."""

    def raise_above(most: int, replicas: int) -> None:
        if replicas > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    gc.disable()
    yield raise_above
    gc.enable()


def test_a_group_that_does_not_fit_into_memory_is_trained_and_evaluated_in_halves(
    alone, tmp_path, monkeypatch, too_little
):
    shared = (*DOUBLE, "trainer.max_epochs=1", "callbacks=start_of_training")
    settings, sizes, groups = [composed(*shared, f"seed={seed}") for seed in range(3)], [], []
    train, logits_of = ReplicaGroup.train, group_evaluation.logits_of
    monkeypatch.setattr(ReplicaGroup, "train", lambda self: groups.append(weakref.ref(self)) or train(self))

    def small_stack(nets):
        assert not [group for group in groups if group() is not None]  # groups and their tensors are freed
        sizes.append(len(nets))
        too_little(2, len(nets))
        return Stack(nets)

    def limited(stack, rows, *args, **named):
        too_little(1, len(next(iter(rows.parameters.values()))))
        return logits_of(stack, rows, *args, **named)

    monkeypatch.setattr("start_training.replicas.group.Stack", small_stack)
    monkeypatch.setattr(group_evaluation, "logits_of", limited)
    assert_same_runs(alone(settings), together(tmp_path, settings))
    assert sizes == [3, 1, 2] and len(groups) == 2
