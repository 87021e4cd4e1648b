"""A seeded tenth of the zoo is judged again: both answers are as often right as the stored verdicts are."""

import pytest

from tests.campaigns.verdicts import FILE, compare, misses, read_verdicts, table, verdict
from tests.zoo.labels import read_labels
from tests.zoo.nets import NETS, drawn

LABELS = read_labels()


def test_a_wrong_answer_a_false_alarm_and_a_refusal_are_told_apart():
    net, starting = NETS["mlp_he_6"], {"verdict": "HEALTHY", "sgd": "yes", "adam": "yes", "defects": [], "seed": 0}
    right = compare(net, starting, LABELS)
    assert right.starts and right.defects and not right.alarm and not right.undecided
    alarm = compare(net, {**starting, "verdict": "UNHEALTHY", "sgd": "no", "defects": ["dead"]}, LABELS)
    assert alarm.alarm and not alarm.starts and not alarm.defects
    assert compare(net, {**starting, "verdict": "UNCERTAIN", "adam": "uncertain"}, LABELS).undecided
    refused = compare(net, {"verdict": "REFUSED", "reason": "it fails", "seed": 0}, LABELS)
    assert refused.alarm and refused.undecided and not refused.starts and not refused.defects


def test_the_stored_verdicts_are_of_all_nets_and_reach_the_goals():
    verdicts = read_verdicts(FILE)
    assert {name for name, _ in verdicts} == {*NETS}
    compared = [compare(NETS[name], row, LABELS) for (name, _), row in verdicts.items()]
    assert not any(one.alarm for one in compared)
    assert sum(one.undecided for one in compared) <= 0.05 * len(compared)
    assert sum(one.starts and one.defects for one in compared) >= 0.93 * len(compared)
    assert len(table(verdicts).splitlines()) == 2 + 2 * len({seed for _, seed in verdicts})
    assert len(misses(verdicts, NETS)) < 0.07 * len(compared)


@pytest.mark.slow
@pytest.mark.parametrize("net", drawn(NETS.values(), 0.1, 5), ids=lambda net: net.name)
def test_a_tenth_of_the_zoo_has_the_stored_verdict(net):
    """Rounding may move an answer near a limit, as may another processor; a good net is never called sick."""
    stored, row = read_verdicts(FILE)[net.name, 0], verdict(net, 0)
    assert row["verdict"] != "REFUSED"
    assert not net.healthy or row["verdict"] == "HEALTHY"
    assert bool(row["defects"]) == bool(stored["defects"])
