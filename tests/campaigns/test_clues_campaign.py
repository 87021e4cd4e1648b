"""Clues on runs that were trained with settings that provoke each verdict, half of them set aside beforehand."""

import random

import numpy as np
import pytest

from tests.schedules.clue_cases import RIGHT, TASKS, cases, references, shows
from tests.schedules.clue_runs import clues_of_row, judged, read_runs, table

STORED = read_runs()
MUST_BE_RIGHT = ("memorization", "too much weight decay", "noisy validation")


def test_clues_on_stored_runs_are_right_on_nine_of_ten_that_were_set_aside():
    aside, known = judged(STORED, aside=True), judged(STORED, aside=False)
    assert len(aside) + len(known) >= 80 and len(aside) >= 40
    assert {one.case.way for one in aside} == {*RIGHT} and {one.case.task for one in aside} == {*TASKS}
    for runs in (aside, known):
        assert sum(one.right for one in runs) >= 0.9 * len(runs), [one.case.name for one in runs if not one.right]
        assert not [one.case.name for one in runs if one.case.way in MUST_BE_RIGHT and not one.right]
    assert len(table(STORED).splitlines()) == 3 + len(RIGHT)


def test_clues_are_three_sentences():
    for one in judged(STORED, aside=False):
        assert one.clues.text.startswith(f"{one.clues.verdict}: ") and one.clues.text.count(". ") == 1
        assert one.advice.startswith("Try first: ") and one.advice.endswith(".") and one.advice.count(". ") == 0


def test_settings_and_gap_decide_where_losses_alone_do_not():
    """The same curves are too much regularization only if there is much, and a plateau if training loss is not 0."""
    rows = {one.case.way: STORED[one.case.name] for one in judged(STORED, aside=False)}
    row = rows["too much weight decay"]
    assert clues_of_row(row | {"settings": row["settings"] | {"weight_decay": 1e-3}})[0].verdict == "plateau"
    row = rows["memorization"]
    assert clues_of_row(row | {"train": row["val"]})[0].verdict != clues_of_row(row)[0].verdict


@pytest.mark.slow
@pytest.mark.parametrize("case", random.Random(24).sample(cases(), len(cases()) // 10), ids=lambda case: case.name)
def test_a_tenth_of_the_runs_is_trained_again(case):
    """Another processor rounds differently: what a run shows is compared, and that its clues are right."""
    from tests.campaigns.clues import trained_row

    row, lowest = trained_row(case), references([*STORED.values()]).get(case.task, np.inf)
    assert row["settings"] == STORED[case.name]["settings"]
    assert row["chance"] == pytest.approx(STORED[case.name]["chance"], rel=1e-3)
    if shows(row, lowest) and shows(STORED[case.name], lowest):
        right = clues_of_row(STORED[case.name])[0].verdict in RIGHT[case.way]
        assert clues_of_row(row)[0].verdict in RIGHT[case.way] or not right
