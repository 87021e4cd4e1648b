"""The limit on open files is raised as far as the run directories of a process need and the system allows."""

import resource

import pytest

from start_training.files.open_files import OTHERS, max_open_runs, raise_open_file_limit


@pytest.mark.parametrize(
    ("runs", "hard", "soft", "most"),
    [
        (1, 2000, 300, 2000 - OTHERS),
        (200, 2000, 200 + OTHERS, 2000 - OTHERS),
        (10_000, 2000, 2000, 2000 - OTHERS),
        (10_000, resource.RLIM_INFINITY, 10_000 + OTHERS, None),
        (1, 300, 300, 300 - OTHERS),
        (1, OTHERS, 300, 1),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_runs_need_and_the_hard_limit_allows(monkeypatch, runs, hard, soft, most):
    limits = [300, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    raise_open_file_limit(runs)
    assert limits == [soft, hard]
    assert max_open_runs() == most
