"""What objects hold is put back in place, whatever was done to it."""

import random
from collections import defaultdict, deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from start_training.callbacks.snapshot import restored
from start_training.streams import isolate_random_streams


def holder() -> SimpleNamespace:
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


def disturb(held: SimpleNamespace) -> None:
    held.count, held.extra = 4, "new"
    del held.name
    held.losses.append(torch.tensor(2.0))
    held.losses[0].add_(1)
    held.nested["deep"][0]["tensor"].zero_()
    held.nested["more"] = 1
    held.states[1]["step"] += 1
    held.states[2]["step"] = torch.tensor(0.0)
    held.seen.add(3)
    held.queue.extend([2, 3, 4])
    held.pair[1][0].fill_(torch.nan)
    torch.rand(1, generator=held.torch_stream)
    held.numpy_stream.random()
    held.python_stream.random()


def drawn(held: SimpleNamespace) -> tuple[float, float, float]:
    return (
        float(torch.rand(1, generator=held.torch_stream)), held.numpy_stream.random(), held.python_stream.random()
    )  # fmt: skip


def plain(held: SimpleNamespace) -> str:
    """All but the streams, as text: exact, and NaN equals NaN."""
    return repr({name: value for name, value in sorted(vars(held).items()) if not name.endswith("_stream")})


def test_everything_is_as_it_was_in_the_same_objects():
    held, untouched = holder(), holder()
    losses, tensor = held.losses, held.nested["deep"][0]["tensor"]
    with restored(held):
        disturb(held)
        assert plain(held) != plain(untouched)
    assert plain(held) == plain(untouched)
    assert drawn(held) == drawn(untouched)
    assert held.losses is losses is held.alias
    assert held.nested["deep"][0]["tensor"] is tensor


def test_global_streams_go_on_also_after_an_error():
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
