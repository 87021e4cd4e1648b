"""Tests of the benchmark `fix`: which cases it has, that it goes on where it was, and what its table counts."""

import json

import pytest

from benchmarks import fix
from benchmarks.fix import cases, started, table
from tests.zoo.labels import read_labels
from tests.zoo.nets import NETS


def test_cases_are_nets_that_do_not_start_and_that_weights_can_mend():
    sick, labels = cases(), read_labels()
    assert ("mlp_tanh_30", "sgd") in sick and ("mlp_frozen", "sgd") not in sick
    assert all(labels[*case, 0]["seconds"] <= fix.MOST for case in sick)
    assert len(cases(1e6)) > len(sick)
    assert all(NETS[name].healthy for name, _ in cases(healthy=True))


@pytest.mark.slow
def test_an_outcome_is_stored_and_not_measured_again(tmp_path, capsys, monkeypatch):
    words = ["--quick", "--way", "fix_", "--family", "towers", "--file", str(tmp_path / "fix.json")]
    fix.main(words)
    [row] = json.loads((tmp_path / "fix.json").read_text())
    assert (row["net"], row["starts"]) == ("towers_both_bad", True) and row["change"]
    assert "| towers | 1 | 0 | 1 |" in capsys.readouterr().out
    monkeypatch.setattr(fix, "outcome", None)
    fix.main(words)


def test_a_net_that_was_not_changed_counts_by_its_label():
    labels, case = read_labels(), ("mlp_width_4_depth_60", "sgd")
    row = {"starts": None, "seconds": 1.0}
    assert not started(row, case, labels, 0)
    assert "| dense | 1 | 0 | 0 |" in table({(*case, "fix_", 0): row}, [case], 0, labels)
