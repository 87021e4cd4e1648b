"""The campaign that labels the zoo, with trainings that take no time."""

import pytest

from tests.campaigns import zoo
from tests.zoo.labels import read_labels
from tests.zoo.training import Label

FAMILY = ["--family", "graphs"]
COUNT = 2 * 11  # optimizers × nets of the family


@pytest.fixture
def trained(monkeypatch):
    """The (net, optimizer, seed) of each training; one more than `trained.limit` is killed."""
    calls = []

    def label_of(net, optimizer, seed):
        if len(calls) == calls_limit[0]:
            raise KeyboardInterrupt
        calls.append((net.name, optimizer, seed))
        return Label(optimizer == "adam", 1.6, 0.1, [(0, 1.7)], {"0.1": 1.7}, 3.0)

    calls_limit = [1000]
    monkeypatch.setattr(zoo, "label_of", label_of)
    return calls, calls_limit


def test_a_campaign_that_was_killed_goes_on_where_it_was(trained, tmp_path, capsys):
    calls, limit = trained
    file = tmp_path / "labels.json"
    arguments = [*FAMILY, "--file", str(file)]
    limit[0] = 3
    with pytest.raises(KeyboardInterrupt):
        zoo.main(arguments)
    assert list(read_labels(file)) == sorted(calls)
    limit[0] = 1000
    assert zoo.main(arguments) == 0
    assert len(calls) == len({*calls}) == len(read_labels(file)) == COUNT
    assert zoo.main(arguments) == 0
    assert len(calls) == COUNT
    output = capsys.readouterr().out
    assert f"{COUNT} labels of {COUNT}, 0 missing" in output
    assert "0/5, 5/5" in output  # healthy ones that start with SGD and with Adam
    assert zoo.main([*arguments, "--seed", "1"]) == 0
    assert calls[-1][2] == 1
    assert len(read_labels(file)) == 2 * COUNT
    assert zoo.main([*arguments, "--again"]) == 0
    assert len(calls) == 3 * COUNT


def test_no_training_begins_after_the_time_limit(trained, tmp_path, capsys):
    assert zoo.main([*FAMILY, "--minutes", "0", "--file", str(tmp_path / "labels.json")]) == 1
    assert trained[0] == []
    assert f"{COUNT} missing" in capsys.readouterr().out
