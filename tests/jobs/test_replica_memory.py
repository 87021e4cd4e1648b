"""A group for which there is too little memory trains fewer at a time, and leaves the same runs."""

import gc
import weakref

import pytest
import torch

from src.replicas import evaluation, updates
from src.replicas.group import Group
from src.replicas.stack import Stack
from src.runs.directory import RunDirectory
from tests.jobs.replica_jobs import DOUBLE, assert_same_runs, together

SHORT = (*DOUBLE, "trainer.max_epochs=1")


@pytest.fixture
def seeds(config):
    """Configs that differ in the seed."""

    def composed(count: int, *shared: str) -> list[dict]:
        return [config(*SHORT, *shared, f"seed={seed}") for seed in range(count)]

    return composed


@pytest.fixture
def little_memory(monkeypatch):
    """Let passes of more than so many replicas run out of memory; the returned list holds the sizes of those asked."""

    def limited(module, name: str, most: int, *, after: bool = False) -> list[int]:
        sizes: list[int] = []
        own = getattr(module, name)

        def limited_pass(stack, rows, *args, **settings):
            sizes.append(len(next(iter(rows.parameters.values()))))
            passed = own(stack, rows, *args, **settings) if sizes[-1] <= most or after else None
            if sizes[-1] > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return passed

        monkeypatch.setattr(module, name, limited_pass)
        return sizes

    return limited


@pytest.mark.parametrize("after", [False, True], ids=["at once", "after the pass"])
def test_where_memory_runs_out_half_as_many_go_together(alone, seeds, tmp_path, little_memory, after):
    """Also where batch normalization has moved its averages by then: they move once."""
    settings = seeds(5)
    if after:
        settings = [{**its, "model": {"_target_": "tests.replicas.nets.Normalized"}} for its in settings]
    ones = alone(settings)
    sizes = little_memory(updates, "losses_of", 2, after=after)
    assert_same_runs(ones, together(tmp_path, settings))
    assert sizes[:5] == [5, 2, 3, 1, 2]  # 2 of 5 in one of two parts, the other 3 in two
    assert sizes[5:] == [1, 2, 2] * (len(sizes[5:]) // 3)


def test_memory_for_one_replica_is_the_least_there_must_be(seeds, tmp_path, little_memory):
    little_memory(updates, "losses_of", 0)
    with pytest.raises(torch.OutOfMemoryError):
        together(tmp_path, seeds(3))
    assert [RunDirectory(tmp_path / str(index)).state for index in range(3)] == ["failed"] * 3


@pytest.fixture
def no_chance_collections():
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_chance_collections")
def test_a_group_that_memory_does_not_hold_trains_in_halves(alone, seeds, tmp_path, monkeypatch):
    settings = seeds(3)
    ones, sizes, groups = alone(settings), [], []
    train = Group.train
    monkeypatch.setattr(Group, "train", lambda self: groups.append(weakref.ref(self)) or train(self))

    def small_stack(nets):
        assert not [group for group in groups if group() is not None]  # with all its tensors
        sizes.append(len(nets))
        if len(nets) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Stack(nets)

    monkeypatch.setattr("src.replicas.group.Stack", small_stack)
    assert_same_runs(ones, together(tmp_path, settings))
    assert sizes == [3, 1, 2] and len(groups) == 2


def test_where_an_evaluation_runs_out_of_memory_half_as_many_are_evaluated_together(
    alone, seeds, tmp_path, little_memory
):
    settings = seeds(5, "callbacks=start_of_training")
    ones = alone(settings)
    sizes = little_memory(evaluation, "logits_of", 2)
    assert_same_runs(ones, together(tmp_path, settings))
    assert [size for size in sizes if size > 2] == [3]  # of 5, in two parts: the validation set is larger than a batch
