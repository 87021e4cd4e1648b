"""A net of the zoo: a constructor, a task to train it on, and what was broken in it when it was built."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tests.zoo.tasks import Task

WAYS = {
    "gain": "the weights of all layers, or of a whole tower, are too small or too large",
    "width": "too narrow for its depth",
    "one_layer": "the weights of one layer of many are 10⁴ times too small or too large",
    "branch_scale": "residual branches are added without the scale that their number needs",
    "dead_bias": "biases so negative that ReLUs are 0 for every input",
    "detached": "a part is cut off from the gradient",
    "symmetric": "all weights of a layer are equal, so that its units stay equal",
    "saturated_attention": "queries and keys so large that each token attends to one other",
    "rank_collapse": "attention or graph averaging without skips, until all tokens or nodes are alike",
    "zero": "weights of 0 that keep the gradient from a part",
    "nan": "a weight is NaN",
    "huge_readout": "logits about 1000 times too large",
    "wrong_omega": "sine or Fourier frequencies that do not fit the weights",
    "unnormalized": "a deep plain net with neither normalization nor an initialization that makes up for it",
    "deep_post_norm": "normalization after the addition in too many blocks",
    "fp16_overflow": "values above 65504 in half precision",
    "recurrent_gain": "recurrent weights or gates under which the gradient vanishes or explodes through time",
    "frozen": "no parameter is trainable",
    "dropout": "dropout of 0.99",
    "double_softmax": "a softmax before a loss that takes logits",
    "no_skips": "a deep net with batch normalization and without skip connections",
}
DEFECTS = {
    "dead": "units or a tower whose output is, beside the rest, the same for every input",
    "detached": "parameters that the loss does not depend on for autograd",
    "symmetric": "units that are equal and stay so",
    "saturated_attention": "attention of entropy near 0",
    "rank_collapse": "tokens or nodes of a sample that are all alike",
    "no_gradient": "parameters whose gradient is exactly 0, or that are not trainable although they should be",
    "not_finite": "outputs or gradients that are infinite or NaN",
    "readout": "a loss at initialization far above chance",
    "double_softmax": "probabilities in the place of logits",
    "lost_in_time": "no gradient from the end of a sequence to its beginning",
    "explodes_in_time": "a gradient that grows exponentially from the end of a sequence to its beginning",
    "dropout": "so much dropout that what is left is noise",
    "jump": "one layer at which the signal changes by orders of magnitude",
}


def stream(seed: int) -> int:
    """Return the seed of the generators of a training: none that a teacher has (1 to 9)."""
    return 1000 * seed


@dataclass(frozen=True, kw_only=True)
class ZooNet:
    """A net with known answers.

    Whether it starts to train is known from training (`labels.json`). Whether all of it takes part is known from how it
    was built: `defects`. A fault of the net as a whole (a gain too small in every layer, say) is no defect in this
    sense: if such a net starts to train, nothing is wrong with it.

    Args:
        name: unique in the zoo.
        family: the file that it is in.
        task: what it is trained on.
        build: constructs it with random weights from torch's global generator.
        ways: how it was broken, of `WAYS`; empty: a net as its authors build and initialize it.
        defects: the parts that do not take part, of `DEFECTS`.
    """

    name: str
    family: str
    task: Task
    build: Callable[[], nn.Module]
    ways: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = {*self.ways} - {*WAYS} | {*self.defects} - {*DEFECTS}
        assert not unknown, f"{self.name}: {unknown}"
        assert self.ways or not self.defects, f"{self.name}: a defect needs a way in which it was built"

    @property
    def healthy(self) -> bool:
        """Whether it was built as it should be. Whether it starts is another question."""
        return not self.ways

    def make(self, seed: int) -> nn.Module:
        """Build the net with weights from a seed, without touching torch's global generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed))
            return self.build()


Row = tuple[str, Task, Callable[[], nn.Module], str, str]


def family_of(family: str, rows: list[Row]) -> list[ZooNet]:
    """Nets of one family from rows: name, task, constructor, ways, defects (words separated by spaces)."""
    return [
        ZooNet(name=name, family=family, task=task, build=build, ways=tuple(ways.split()), defects=tuple(parts.split()))
        for name, task, build, ways, parts in rows
    ]
