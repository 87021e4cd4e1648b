"""A process may hold as many run directories as the system can be asked for."""

import resource

import pytest

from src.runs.open_files import OTHERS, allow_runs, most_runs


@pytest.fixture
def limits(monkeypatch):
    """The soft and the hard limit, without those of this process being touched."""
    held = [300, 2000]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(held))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: held.__setitem__(slice(None), limits))
    return held


@pytest.mark.parametrize(("runs", "soft"), [(1, 300), (200, 200 + OTHERS), (10_000, 2000)])
def test_the_soft_limit_is_raised_as_far_as_runs_need_and_the_hard_one_allows(limits, runs, soft):
    allow_runs(runs)
    assert limits == [soft, 2000]


def test_so_many_runs_are_allowed_as_the_hard_limit_leaves(limits):
    assert most_runs() == 2000 - OTHERS
    limits[1] = resource.RLIM_INFINITY
    assert most_runs() is None
    allow_runs(1000)
    assert limits[0] == 1000 + OTHERS
