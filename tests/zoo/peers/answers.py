"""What a judge says about a net, and the question that all of them are asked."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.net import ZooNet

SEED = 0  # of the weights, the batch, and all that is drawn while a judge is asked


@dataclass(frozen=True)
class Answer:
    """One verdict on a net.

    Args:
        healthy: whether nothing is wrong with it.
        starts: whether it starts to train; None: the judge has one verdict for both.
        findings: what is wrong, each as `check: message`.
    """

    healthy: bool
    starts: bool | None = None
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judge:
    """Something that judges nets.

    Args:
        ask: returns the answer for a net; it raises if it cannot judge the net.
        distribution: what is installed by this name.
        module: what is imported by this name.
    """

    ask: Callable[[ZooNet], Answer]
    distribution: str
    module: str

    def version(self) -> str | None:
        """The version that is installed; None: it is not."""
        return None if find_spec(self.module) is None else version(self.distribution)


class OneArgument(nn.Module):
    """A net that takes the tuple of its arguments, for judges that call `net(batch)`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: tuple[Any, ...]) -> Any:
        return self.net(*inputs)


def batch(net: ZooNet) -> tuple[Any, Tensor]:
    """Return a batch of the net's task: its one argument, or a tuple of its arguments, and the targets."""
    inputs, targets = net.task.batch(net.task.batch_size, SEED)
    return inputs[0] if len(inputs) == 1 else inputs, targets


def module_for(net: ZooNet) -> nn.Module:
    """Return the net with its own initialization, so that it takes the inputs of `batch` as one argument."""
    return OneArgument(net.make(SEED)) if isinstance(batch(net)[0], tuple) else net.make(SEED)


def first_line(error: object) -> str:
    """Return the first line of a message, at most 160 characters of it."""
    lines = str(error).splitlines() or [""]
    return lines[0] if len(lines[0]) <= 160 else f"{lines[0][:159]}…"


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Yield what is printed meanwhile, in place of printing it; warnings are dropped, random numbers are from SEED."""
    printed = io.StringIO()
    with (
        redirect_stdout(printed),
        redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(SEED)
        yield printed
