"""Peers on the zoo: how verdicts are scored and stored, that a campaign goes on, and that peers can be asked."""

import json
from dataclasses import replace

import pytest

from scripts.verify import ROOT
from tests.campaigns import peers
from tests.campaigns.peers import main, verdict
from tests.zoo.nets import FAMILIES, NETS
from tests.zoo.peers.answers import Answer, Judge, batch
from tests.zoo.peers.judges import JUDGES, OURS
from tests.zoo.peers.scores import DIRECTORY, Score, file_of, read_verdicts, reasons, score, truths

LABELS = {(name, optimizer, 0): {"starts": starts == optimizer}
          for name, starts in (("mlp_3", "adam"), ("mlp_nan", "none"), ("mlp_dead_bias", "sgd"))
          for optimizer in ("sgd", "adam")}  # fmt: skip


def said(**verdicts: str) -> dict:
    return {
        name: {"verdict": word, "starts": None, "findings": [f"at '{name}': 0.5"]} for name, word in verdicts.items()
    }


def test_a_healthy_net_starts_with_one_optimizer_and_has_no_defect():
    right = truths([NETS[name] for name, optimizer, _ in LABELS if optimizer == "sgd"], LABELS)
    assert right["starts"] == {"mlp_3": True, "mlp_nan": False, "mlp_dead_bias": True}
    assert right["healthy"] == {"mlp_3": True, "mlp_nan": False, "mlp_dead_bias": False}


def test_a_verdict_is_right_a_false_alarm_a_miss_or_a_refusal():
    truth = {"a": True, "b": True, "c": False, "d": False, "e": True, "f": True}
    verdicts = said(a="healthy", b="sick", c="healthy", d="sick", e="refused", gone="sick")
    assert score(verdicts, truth) == Score(right=2, false_alarms=1, misses=1, refused=1)
    assert score(verdicts, truth).asked == 5
    verdicts["b"]["starts"] = True  # a second answer, to the second question alone
    assert score(verdicts, truth, "starts") == Score(right=3, misses=1, refused=1)
    assert score(verdicts, truth) == Score(right=2, false_alarms=1, misses=1, refused=1)
    assert reasons(verdicts, ["a", "b", "f"]) == "2 × at …: …"


def test_a_campaign_goes_on_where_it_was_and_asks_only_what_is_installed(tmp_path, monkeypatch, capsys):
    asked = []

    def ask(net):
        asked.append(net.name)
        if net.name == "linear":
            raise TypeError("cannot take it\nat all")
        return Answer(net.healthy, findings=() if net.healthy else ("check: broken",))

    judges = {OURS: replace(JUDGES[OURS], ask=ask), "absent": Judge(ask, "no-such-peer", "no_such_peer")}
    monkeypatch.setattr(peers, "JUDGES", judges)
    options = ["--family", "dense", "--directory", str(tmp_path)]
    assert main([*options, "--minutes", "0"]) == 1
    assert not asked
    assert main(options) == main(options) == 0
    names = [net.name for net in NETS.values() if net.family == "dense"]
    assert asked == names
    stored = read_verdicts(OURS, tmp_path)
    assert set(stored) == set(names)
    assert (stored["linear"]["verdict"], stored["linear"]["findings"]) == ("refused", ["TypeError: cannot take it"])
    assert stored["mlp_nan"]["verdict"] == "sick"
    assert main([*options, "--again"]) == 0
    assert asked == 2 * names
    printed = capsys.readouterr().out
    assert "absent is not asked: no-such-peer is not installed" in printed
    assert "diagnose, refused (1): 1 × TypeError: cannot take it" in printed
    assert not file_of("absent", tmp_path).exists()


def test_the_stored_verdicts_are_of_all_nets_and_of_the_stated_versions():
    pinned = dict(line.split("==") for line in (ROOT / "tests/zoo/peers/peers.txt").read_text().split() if "==" in line)
    assert {file.name for file in DIRECTORY.iterdir()} >= {file_of(name).name for name in JUDGES}
    for name, judge in JUDGES.items():
        rows = read_verdicts(name)
        assert {*rows} <= {*NETS}, name  # a net may be newer than the verdicts, none may be gone
        if judge.distribution in pinned:
            assert {row["version"] for row in rows.values()} == {pinned[judge.distribution]}
        assert json.loads(file_of(name).read_text())[0]["net"] == min(NETS)


def test_nets_with_several_inputs_get_them_as_a_tuple():
    assert batch(NETS["mlp_3"])[0].shape == (32, 20)
    several = next(net for net in NETS.values() if net.task.name == "pairs")
    assert [part.shape for part in batch(several)[0]] == [(32, 20)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in JUDGES if name != OURS])
def test_peers_that_are_installed_answer_as_stored(name):
    if not (version := JUDGES[name].version()):
        pytest.skip(f"needs {JUDGES[name].distribution}")
    stored = read_verdicts(name)
    for net in ("mlp_3", "mlp_nan", "two_towers"):
        if stored[net]["version"] == version:
            assert verdict(JUDGES[name], NETS[net])["verdict"] == stored[net]["verdict"], net


def test_every_family_is_in_the_table():
    stored = {name: read_verdicts(name) for name in JUDGES}
    assert all(f"| {family} |" in peers.by_family(stored) for family in FAMILIES)
    assert all(f"| {name} |" in peers.totals(stored) for name in JUDGES)
