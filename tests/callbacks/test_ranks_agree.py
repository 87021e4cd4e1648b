from types import SimpleNamespace

import pytest
import torch

from src.callbacks import ranks_agree
from src.callbacks.ranks_agree import RanksAgree

MODULE = SimpleNamespace(device=torch.device("cpu"))


def test_one_process_agrees_with_itself():
    RanksAgree("0123456789ab").on_fit_start(SimpleNamespace(world_size=1), MODULE)


def test_a_process_that_is_alone_where_two_are_counted_on_is_refused():
    with pytest.raises(RuntimeError, match="1 processes are there, and the trainer counts on 2"):
        RanksAgree("0123456789ab").on_fit_start(SimpleNamespace(world_size=2), MODULE)


def test_different_configs_are_refused(monkeypatch):
    monkeypatch.setattr(ranks_agree, "gather", lambda number: torch.stack([number, number + 1]))
    with pytest.raises(RuntimeError, match="different configs: 0123456789ab, 0123456789ac"):
        RanksAgree("0123456789ab").on_fit_start(SimpleNamespace(world_size=1), MODULE)
