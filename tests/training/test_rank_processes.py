"""What rank 0 reports when another rank has ended and it cannot go on."""

import os
import signal
from types import SimpleNamespace

import pytest

from start_training.training import rank_processes
from start_training.training.rank_processes import RankProcesses


@pytest.mark.parametrize(
    ("got", "returncode", "reason", "exit_status"),
    [
        (signal.SIGINT, -signal.SIGKILL, "SIGINT received", 130),
        (0, -signal.SIGTERM, "SIGTERM received", 143),
        (0, 128 + signal.SIGINT, "SIGINT received", 130),
        (0, -signal.SIGKILL, "rank 1 was ended by SIGKILL", 1),
    ],
)
def test_a_signal_that_all_ranks_got_is_the_reason(tmp_path, monkeypatch, capsys, got, returncode, reason, exit_status):
    ended = SimpleNamespace(poll=lambda: returncode, returncode=returncode, kill=lambda: None)
    reported: list[object] = []
    ranks = RankProcesses(SimpleNamespace(path=tmp_path), on_hang=lambda *results: reported.extend(results))
    ranks.processes = [ended]
    monkeypatch.setattr(rank_processes, "GRACE", 0.01)
    monkeypatch.setattr(rank_processes, "received", lambda: got)
    monkeypatch.setattr(os, "_exit", reported.append)
    ranks._end_hanging()
    assert reported == ["interrupted", reason, exit_status]
    assert capsys.readouterr().err == f"error: {reason}\n"
