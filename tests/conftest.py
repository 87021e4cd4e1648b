"""What statistical tests share: a seeded stream, an initializer of each formula, and a distance in standard errors.

torch and what builds on it are imported where they are used: theory's tests do without.
"""

import gc
import os
import pkgutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported: nets this small train fastest on one thread, and tests run beside each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Workers of pytest-xdist have 80 columns, and a single process has none: tables would be printed in two ways.
os.environ.pop("COLUMNS", None)

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import ArrayLike, NDArray

from tests.small_runs import alone as alone  # fixtures, as are the next ones
from tests.small_runs import config as config
from tests.small_runs import shell as shell
from tests.small_runs import trained as trained
from tests.small_runs import without_run_figures as without_run_figures

if TYPE_CHECKING:
    from torch import Generator

    from start_training.initializers.initializer import Initializer

gc.disable()  # until the tests are collected: imports create a million objects, and no garbage

# A shell that starts a command in the background lets it ignore SIGINT, which the tests send to themselves and others.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run; a test that wants more of them says so.
settings.register_profile("tests", max_examples=30, deadline=None, derandomize=True, database=None)
settings.load_profile("tests")

INITIALIZERS = sorted((Path(__file__).parents[1] / "conf" / "initializer").glob("*.yaml"))
# Of those whose weights are one formula's up to a factor, one: the factor is a property, tests/initializers.
FORMULAS = ("he_normal", "he_truncated_normal", "glorot_uniform", "orthogonal", "torch_default")


def _initializer_named(name: str, activation: str | None = "relu") -> "Initializer":
    from omegaconf import OmegaConf

    node = OmegaConf.load(INITIALIZERS[0].with_stem(name))
    config = OmegaConf.create({"model": {"activation": activation}, "initializer": node})
    arguments = OmegaConf.to_container(config, resolve=True)["initializer"]
    return pkgutil.resolve_name(arguments.pop("_target_"))(**arguments)


@pytest.fixture
def initializer_named() -> "Callable[..., Initializer]":
    """What a file of conf/initializer builds for a net of an activation, ReLU."""
    return _initializer_named


@pytest.fixture
def generator() -> "Generator":
    import torch

    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Restore the handlers that a command installs for the rest of its process."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture(params=FORMULAS)
def initializer(request: pytest.FixtureRequest) -> "Initializer":
    """One initializer of each formula that conf/ offers, as its YAML builds it for a ReLU net."""
    return _initializer_named(request.param)


@pytest.fixture
def sigmas() -> Callable[[ArrayLike, ArrayLike], NDArray[np.float64]]:
    """Distance of the mean over the first axis from an expected value, in standard errors of that mean.

    The floor of 1e-5 of the value is float32's: what has no spread is held to that.
    """

    def distance(samples: ArrayLike, expected: ArrayLike) -> NDArray[np.float64]:
        samples = np.asarray(samples, dtype=np.float64)
        error = samples.std(0, ddof=1) / len(samples) ** 0.5
        return np.abs(samples.mean(0) - expected) / (error + 1e-5 * np.abs(expected))

    return distance


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that are given more time come first, so that no worker is left with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """Leave the million objects of imported libraries out of garbage collections, which took up to a third of a test.

    Reference cycles of tests are still collected, though less often, so that unclosed files are found.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 100)
    gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # libraries report objects that are left at the end of a process
