"""What rank 0 reports when another rank has ended and it cannot go on."""

import os
import signal
from types import SimpleNamespace

import pytest

from start_training.training import rank_processes
from start_training.training.rank_processes import RankProcesses


@pytest.mark.parametrize(
    ("signum", "reason", "exit_status"),
    [(signal.SIGINT, "SIGINT received", 130), (0, "rank 1 was ended by SIGINT", 1)],
)
def test_a_signal_that_rank_0_got_too_is_the_reason(tmp_path, monkeypatch, capsys, signum, reason, exit_status):
    ended = SimpleNamespace(poll=lambda: -signal.SIGINT, returncode=-signal.SIGINT, kill=lambda: None)
    reported: list[object] = []
    ranks = RankProcesses(SimpleNamespace(path=tmp_path), on_hang=lambda *results: reported.extend(results))
    ranks.processes = [ended]
    monkeypatch.setattr(rank_processes, "GRACE", 0.01)
    monkeypatch.setattr(rank_processes, "received", lambda: signum)
    monkeypatch.setattr(os, "_exit", reported.append)
    ranks._end_hanging()
    assert reported == ["interrupted", reason, exit_status]
    assert capsys.readouterr().err == f"error: {reason}\n"
