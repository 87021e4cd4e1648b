"""What the launcher behind the replicas says of the machine: workers, and memory for a group."""

import os

import pytest
import torch
from hydra import compose, initialize_config_dir

from src.jobs import inner_launcher
from src.jobs.inner_launcher import memory_limit, workers_of
from tests.jobs.conftest import CONF

GPU = {"trainer": {"accelerator": "gpu"}}
CPU = {"trainer": {"accelerator": "cpu"}}


def launcher(name: str, *overrides: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"hydra/launcher={name}", *overrides], return_hydra_config=True).hydra.launcher


@pytest.mark.parametrize(
    ("name", "overrides", "gpus", "workers"),
    [
        ("basic", (), 8, 1),
        ("process", (), 0, 1),
        ("process", (), 8, 8),
        ("process", ("hydra.launcher.jobs=3",), 8, 3),
        ("joblib", ("hydra.launcher.n_jobs=3",), 0, 3),
        ("joblib", ("hydra.launcher.n_jobs=-1",), 0, os.cpu_count()),
        ("submitit_local", (), 2, 2),
        ("slurm_gpu", (), 0, 1),  # on other machines
    ],
)
def test_how_many_groups_train_at_a_time_here(monkeypatch, name, overrides, gpus, workers):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert workers_of(launcher(name, *overrides)) == workers


@pytest.mark.parametrize(
    ("name", "config", "workers", "gpus", "available", "limit"),
    [
        ("basic", CPU, 1, 0, 1000, 600),
        ("process", CPU, 3, 0, 1000, 200),
        ("process", GPU, 8, 8, 1000, 600),  # one to a GPU
        ("process", GPU, 9, 8, 1000, 300),
        ("process", CPU, 2, 8, 1000, 300),
        ("joblib", GPU, 2, 8, 1000, 300),  # its workers all take the first GPU
        ("basic", GPU, 1, 0, None, None),
        ("slurm_gpu", GPU, 1, 8, 1000, None),  # the GPU is another machine's
        ("slurm_gpu", CPU, 1, 0, 1000, int(0.6 * 16 * 2**30)),
    ],
)
def test_a_group_may_take_its_share_of_what_its_worker_has(monkeypatch, name, config, workers, gpus, available, limit):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(inner_launcher, "available_bytes", lambda accelerator: available)
    assert memory_limit(launcher(name), [config], workers) == limit
