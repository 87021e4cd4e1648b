from types import SimpleNamespace

import pytest
import torch

from start_training.callbacks import ranks_agree
from start_training.callbacks.ranks_agree import RanksAgree


def test_missing_processes_and_different_configs_are_refused(monkeypatch):
    def start(processes):
        module = SimpleNamespace(device=torch.device("cpu"))
        RanksAgree("0123456789ab").on_fit_start(SimpleNamespace(world_size=processes), module)

    start(1)
    with pytest.raises(RuntimeError, match=r"^number of processes = 1: the trainer expects 2"):
        start(2)
    monkeypatch.setattr(ranks_agree, "gather", lambda number: torch.stack([number, number + 1]))
    with pytest.raises(RuntimeError, match=r"^config hash = 0123456789ab, 0123456789ac: "):
        start(1)
