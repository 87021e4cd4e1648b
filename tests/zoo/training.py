"""Decide by training whether a net starts to train: each at its best of a few rates, on fresh samples."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.net import ZooNet, stream

MARGIN = 0.1  # of the chance loss, by which the held-out loss has to fall below it
DOUBT = 0.03  # a net that falls by more than this and less than `MARGIN` is trained `LONGER` times as long
LONGER = 4
HELD_OUT_SAMPLES = 512
HELD_OUT_SAMPLES_SEED = 10**6  # that of trainings with seed 1000 alone
CHECKS = (0, 0.1, 0.2, 0.35, 0.5, 0.75, 1)  # shares of the budget after which the held-out loss is measured
# In the order in which they are tried. The first at which a net starts ends the search.
RATES = {"sgd": (0.1, 0.01, 1.0, 0.001), "adam": (1e-3, 1e-2, 1e-4)}
OPTIMIZERS: dict[str, Callable[[Iterable[Tensor], float], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, rate, momentum=0.9, fused=True),
    "adam": lambda parameters, rate: torch.optim.Adam(parameters, rate, fused=True),
}
Curve = list[tuple[int, float | None]]


@dataclass(frozen=True)
class Label:
    """Whether a net started to train with an optimizer, and the evidence.

    Args:
        starts: whether the held-out loss fell below (1 − `MARGIN`) · chance at a rate, and as far below what it was at
            initialization where that was less.
        chance: held-out loss of the best constant prediction.
        rate: the one at which it started, or that with the lowest held-out loss.
        curve: (step, held-out loss) at that rate, until it started; None: not finite.
        lowest: the lowest held-out loss at each rate that was tried.
        seconds: time that all its trainings took.
    """

    starts: bool
    chance: float
    rate: float
    curve: Curve
    lowest: dict[str, float | None]
    seconds: float

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def label_of(net: ZooNet, optimizer: str, seed: int) -> Label:
    """Train a net at one rate after the other until it starts; if it has learned a little, longer at its best rate."""
    began = time.monotonic()
    chance = net.task.chance(net.task.batch(HELD_OUT_SAMPLES, HELD_OUT_SAMPLES_SEED)[1])
    reference = min(chance, lowest([(0, held_out_loss(net.make(seed), net))]))
    goal = (1 - MARGIN) * reference
    curves: dict[float, Curve] = {}
    for rate in RATES[optimizer]:
        curves[rate] = train(net, optimizer, rate, seed, goal)
        if lowest(curves[rate]) <= goal:
            break
    best = min(curves, key=lambda rate: lowest(curves[rate]))
    if goal < lowest(curves[best]) <= (1 - DOUBT) * reference:
        patient = replace(net, task=replace(net.task, steps=LONGER * net.task.steps))
        curves[best] = train(patient, optimizer, best, seed, goal)
    return Label(
        starts=lowest(curves[best]) <= goal,
        chance=_rounded(chance),
        rate=best,
        curve=[(step, _rounded(loss)) for step, loss in curves[best]],
        lowest={f"{rate:g}": _rounded(lowest(curve)) for rate, curve in curves.items()},
        seconds=round(time.monotonic() - began, 1),
    )


def lowest(curve: Curve) -> float:
    """The lowest loss of a curve; infinity if none is finite."""
    return min((loss for _, loss in curve if loss is not None), default=math.inf)


def _rounded(loss: float | None) -> float | None:
    return None if loss is None or not math.isfinite(loss) else float(f"{loss:.4g}")


def train(net: ZooNet, optimizer: str, rate: float, seed: int, goal: float) -> Curve:
    """Train a net until its held-out loss reaches a goal, its loss is not finite, or its budget of steps is spent.

    The seed is that of the weights and of the samples; each step has fresh ones.
    """
    with torch.random.fork_rng(devices=[]):
        module, task = net.make(seed), net.task
        torch.manual_seed(stream(seed))  # of dropout and of codes
        generator = torch.Generator().manual_seed(stream(seed))
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        updates = OPTIMIZERS[optimizer](parameters, rate) if parameters else None
        checks = [round(share * task.steps) for share in CHECKS]
        curve: Curve = []
        for step in range(task.steps + 1):
            if step in checks:
                curve.append((step, held_out_loss(module, net)))
                if lowest(curve) <= goal:
                    break
            inputs, targets = task.draw(task.batch_size, generator)
            loss = task.loss(module(*inputs), targets)
            if updates is None or not loss.requires_grad or not loss.isfinite():
                break
            updates.zero_grad()
            loss.backward()
            updates.step()
        return curve


def held_out_loss(module: nn.Module, net: ZooNet) -> float | None:
    """The loss on samples that are the same for all nets of a task, in evaluation mode; None: not finite."""
    inputs, targets = net.task.batch(HELD_OUT_SAMPLES, HELD_OUT_SAMPLES_SEED)
    module.eval()
    with torch.no_grad():
        loss = float(net.task.loss(module(*inputs), targets))
    module.train()
    return loss if math.isfinite(loss) else None
