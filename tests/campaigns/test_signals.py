"""A small part of the campaign `signals`, and tests of its verdicts."""

import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.campaigns.signal_places import PLACES
from tests.campaigns.signals import KINDS, SIGNALS, Case, Verdict, disturb, draw_cases, ending, run_reference

# Kinds other than a single run, and signals other than SIGINT.
OF_SWEEPS = dict.fromkeys(["between two jobs", "the report of the sweep"], "sweep") | {"validation": "ddp"}
OTHER_SIGNALS = {"before the first step": "SIGTERM", "a training step": "SIGINT twice", "test": "SIGTERM",
                 "the end of training": "SIGTERM", "writing the summary": "SIGINT twice"}  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Callable[[str], Path]:
    """A function that runs a kind of job without a signal once, and returns its directory."""

    @cache
    def directory(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind) / "here"
        run_reference(KINDS[kind], folder, 240, fresh=False)
        return folder

    return directory


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_signal_at_a_place_ends_the_job_and_does_not_change_its_result(place, reference):
    kind = OF_SWEEPS.get(place, "train")
    verdict = disturb(Case(kind, OTHER_SIGNALS.get(place, "SIGINT"), place=place), reference(kind), 0, 240)
    assert verdict.name == "as undisturbed", verdict.output


@pytest.mark.parametrize("place", PLACES)
def test_a_place_is_a_function(place):
    owner, name, *_ = PLACES[place].split()
    assert callable(getattr(pkgutil.resolve_name(owner), name))


def test_kinds_and_signals_are_drawn_in_turns_at_different_moments():
    cases = draw_cases(list(KINDS), seed=0, count=len(KINDS) * len(SIGNALS))
    assert {(case.kind, case.signals) for case in cases} == {(kind, name) for kind in KINDS for name in SIGNALS}
    assert len({case.share for case in cases}) == len(cases)
    assert all(0 <= case.share < 1 for case in cases)
    assert cases[:5] == draw_cases(list(KINDS), seed=0, count=5)


def test_only_undisturbed_and_ended_jobs_are_good():
    case = Case("train", "SIGINT", 0.5)
    assert Verdict(case, "as undisturbed").good and Verdict(case, "had ended").good
    assert not any(Verdict(case, name).good for name in ("traceback", "hang", "status 1", "another result"))


def test_the_status_of_a_job_is_that_of_its_first_signal():
    case = Case("train", "SIGTERM", 0.5)
    assert ending(case, 143, "interrupted") == ending(case, -15, "") == ending(case, 0, "completed") == ""
    assert ending(case, 130, "") == "status 130"
    assert ending(case, 143, "Traceback (most recent call last):") == "traceback"
    assert ending(Case("train", "SIGTERM", place="test"), 0, "") == "status 0"
