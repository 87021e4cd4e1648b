"""Attributes of objects and global random generators are restored in place."""

import random
from collections import defaultdict, deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from start_training.callbacks.snapshot import restored
from start_training.streams import isolate_random_streams


def example_state() -> SimpleNamespace:
    losses = [torch.tensor(1.0)]
    return SimpleNamespace(
        count=3,
        name="a",
        losses=losses,
        alias=losses,
        nested={"deep": [{"tensor": torch.arange(4.0)}]},
        states=defaultdict(dict, {1: {"step": torch.tensor(2.0)}}),
        seen={1, 2},
        queue=deque([1], maxlen=3),
        pair=(1, [torch.ones(2)]),
        torch_stream=torch.Generator().manual_seed(0),
        numpy_stream=np.random.default_rng(0),
        python_stream=random.Random(0),
    )


def disturb(state: SimpleNamespace) -> None:
    state.count, state.extra = 4, "new"
    del state.name
    state.losses.append(torch.tensor(2.0))
    state.losses[0].add_(1)
    state.nested["deep"][0]["tensor"].zero_()
    state.nested["more"] = 1
    state.states[1]["step"] += 1
    state.states[2]["step"] = torch.tensor(0.0)
    state.seen.add(3)
    state.queue.extend([2, 3, 4])
    state.pair[1][0].fill_(torch.nan)
    torch.rand(1, generator=state.torch_stream)
    state.numpy_stream.random()
    state.python_stream.random()


def drawn(state: SimpleNamespace) -> tuple[float, float, float]:
    return (
        float(torch.rand(1, generator=state.torch_stream)), state.numpy_stream.random(), state.python_stream.random()
    )  # fmt: skip


def plain(state: SimpleNamespace) -> str:
    """Everything except the generators as text, in which NaN equals NaN."""
    return repr({name: value for name, value in sorted(vars(state).items()) if not name.endswith("_stream")})


def test_all_attributes_are_restored_in_the_same_objects():
    state, untouched = example_state(), example_state()
    losses, tensor = state.losses, state.nested["deep"][0]["tensor"]
    with restored(state):
        disturb(state)
        assert plain(state) != plain(untouched)
    assert plain(state) == plain(untouched)
    assert drawn(state) == drawn(untouched)
    assert state.losses is losses is state.alias
    assert state.nested["deep"][0]["tensor"] is tensor


def test_global_generators_are_restored_after_an_error():
    def draws() -> tuple[float, float, float]:
        return float(torch.rand(1)), float(np.random.rand()), random.random()

    def seed() -> None:
        torch.manual_seed(0), np.random.seed(0), random.seed(0)

    seed()
    expected = draws()
    seed()
    with pytest.raises(KeyboardInterrupt), isolate_random_streams():
        draws()
        raise KeyboardInterrupt
    assert draws() == expected
    assert draws() != expected
