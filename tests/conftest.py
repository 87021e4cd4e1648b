"""What statistical tests share: a seeded stream, every initializer of conf/, and a distance in standard errors."""

import os
from collections.abc import Callable
from pathlib import Path

# Before torch is imported: nets this small train fastest on one thread, and tests run beside each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import ArrayLike, NDArray
from omegaconf import OmegaConf

from src.initializers.initialize import FillTensor
from src.initializers.initializer import Initializer
from src.runs.build import build_initializer

# The same examples in every run; a test that wants more of them says so.
settings.register_profile("tests", max_examples=30, deadline=None, derandomize=True, database=None)
settings.load_profile("tests")

INITIALIZERS = sorted((Path(__file__).parents[1] / "conf" / "initializer").glob("*.yaml"))


def _initializer_named(name: str) -> FillTensor:
    node = OmegaConf.load(INITIALIZERS[0].with_stem(name))
    config = OmegaConf.create({"model": {"activation": "relu"}, "initializer": node})
    return build_initializer(OmegaConf.to_container(config, resolve=True)["initializer"])


@pytest.fixture
def initializer_named() -> Callable[[str], FillTensor]:
    """What a file of conf/initializer builds for a ReLU net."""
    return _initializer_named


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=[path.stem for path in INITIALIZERS])
def initializer(request: pytest.FixtureRequest) -> Initializer:
    """Each initializer that conf/ offers, as its YAML builds it for a ReLU net."""
    built = _initializer_named(request.param)
    if not isinstance(built, Initializer):
        pytest.skip("states no law to hold it to")
    return built


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
