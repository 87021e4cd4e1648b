"""Ways to initialize or mend a net of the zoo in place, each as its documentation recommends."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import nn

from start_training.cure.fix import fix_
from start_training.initializers.initialize import initialize_
from start_training.initializers.orthogonal import Orthogonal
from start_training.initializers.variance_scaling import VarianceScaling
from tests.zoo.net import ZooNet
from tests.zoo.peers.answers import OneArgument, quiet

SAMPLES = 64
BATCH_SEED = 10**5  # of the samples: none with which a net is trained
AS_IS, FIX = "as is", "fix_"
Way = Callable[[nn.Module, ZooNet, str, int], str]


def _fix(net: nn.Module, zoo: ZooNet, optimizer: str, seed: int) -> str:
    inputs, targets = zoo.task.batch(SAMPLES, BATCH_SEED + seed)
    batch = inputs[0] if len(inputs) == 1 else inputs
    return fix_(net, batch, targets=targets, loss=zoo.task.loss, optimizer=optimizer, seed=seed).change


def _draw(make: Callable[[], object], net: nn.Module, zoo: ZooNet, optimizer: str, seed: int) -> str:
    return str(initialize_(net, make(), generator=torch.Generator().manual_seed(seed))).splitlines()[0]  # type: ignore[arg-type]


def _anyinit(mode: str, net: nn.Module, zoo: ZooNet, optimizer: str, seed: int) -> str:
    inputs, _ = zoo.task.batch(SAMPLES, BATCH_SEED + seed)
    import_module("anyinit").initialize(net, mode, inputs[0] if len(inputs) == 1 else inputs, seed=seed)
    return mode


def _lsuv(net: nn.Module, zoo: ZooNet, optimizer: str, seed: int) -> str:
    inputs, _ = zoo.task.batch(SAMPLES, BATCH_SEED + seed)
    one = len(inputs) == 1
    module = net if one else OneArgument(net)
    torch.manual_seed(seed)
    import_module("lsuv").lsuv_with_singlebatch(module, inputs[0] if one else [*inputs], verbose=False)
    return "lsuv"


WAYS: dict[str, Way] = {
    FIX: _fix,
    "He": partial(_draw, partial(VarianceScaling, 2.0)),
    "orthogonal": partial(_draw, Orthogonal),
    "anyinit analytic": partial(_anyinit, "analytic"),
    "anyinit empirical": partial(_anyinit, "empirical"),
    "lsuv": _lsuv,
}


def installed(way: str) -> bool:
    """Return whether what a way needs is installed."""
    module = way.split()[0]
    return module not in ("anyinit", "lsuv") or find_spec(module) is not None


def apply(way: str, net: nn.Module, zoo: ZooNet, optimizer: str, seed: int) -> str:
    """Apply a way to a net in place, without output and with the random streams of its seed; return what it did.

    Raises:
        Exception: it cannot take the net.
    """
    with quiet():
        return WAYS[way](net, zoo, optimizer, seed)
