"""A small part of the campaign `signals`, and tests of its verdicts."""

import pytest

from tests.campaigns.signals import KINDS, SIGNALS, Case, Verdict, draw_cases, main


@pytest.mark.slow
def test_signals_at_random_moments_do_not_change_the_result(capsys):
    status = main(["--seed", "18", "--count", "6", "--kind", "train", "--kind", "simulate"])
    assert status == 0, capsys.readouterr().out


def test_kinds_and_signals_are_drawn_in_turns_at_different_moments():
    cases = draw_cases(list(KINDS), seed=0, count=30)
    assert {(case.kind, case.signals) for case in cases} == {(kind, name) for kind in KINDS for name in SIGNALS}
    assert len({case.share for case in cases}) == 30
    assert all(0 <= case.share < 1 for case in cases)
    assert cases[:5] == draw_cases(list(KINDS), seed=0, count=5)


def test_only_undisturbed_and_ended_jobs_are_good():
    case = Case("train", "SIGINT", 0.5)
    assert Verdict(case, "as undisturbed").good and Verdict(case, "had ended").good
    assert not any(Verdict(case, name).good for name in ("traceback", "hang", "status 1", "another result"))
