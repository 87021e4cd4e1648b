"""A small part of the campaign `fuzz`, and tests of its verdicts."""

import pytest

from tests.campaigns.fuzz import Verdict, judge, main, names, table
from tests.campaigns.fuzz_cases import Case, draw_cases

CASE = Case("train", ("model.depth=0",), ("model.depth=0",))


@pytest.mark.slow
def test_wrong_settings_cause_one_line_of_error(capsys):
    status = main(["--seed", "18", "--count", "22"])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "output", "errors", "name"),
    [
        (0, "completed", "", "ran"),
        (1, "", "error: model.depth = 0: must be a whole number of at least 1\n", "refused"),
        (3, "", "", "status 3"),
        (-9, "", "", "status -9"),
        (1, "", "", "no one line"),
        (1, "", "error: model.depth = 0: no\nerror: model.depth = 0: no\n", "no one line"),
        (1, "", "a warning\nerror: model.depth = 0: no\n", "more lines"),
        (1, "", "error: out of memory\n", "names nothing"),
        (0, "", "Traceback (most recent call last):\n", "traceback"),
    ],
)
def test_the_verdict_depends_on_status_output_and_errors(status, output, errors, name):
    assert judge(CASE, status, output, errors) == name
    verdict = Verdict(CASE, name)
    assert verdict.good == (name in ("ran", "refused"))
    assert name in table([verdict])


def test_the_status_3_of_diagnose_is_not_an_error():
    assert judge(Case("diagnose", (), ()), 3, "", "") == "ran"


def test_a_line_mentions_a_setting_or_its_value_as_a_word():
    assert names("model.depth=0", "error: depth = 0: must be")
    assert names("+nosuch=foo", "error: foo: no such file")
    assert not names("seed=1e30", "error: seeds = 3: too many")


def test_cases_are_reproducible_from_a_seed_with_scripts_in_turns():
    cases = draw_cases(["train", "draw"], seed=3, count=6)
    assert cases == draw_cases(["train", "draw"], seed=3, count=6)
    assert cases[:4] == draw_cases(["train", "draw"], seed=3, count=4)
    assert [case.script for case in cases] == ["train", "draw"] * 3
    assert cases != draw_cases(["train", "draw"], seed=4, count=6)
    assert all(set(case.odd) <= set(case.words) for case in cases)
