"""Number of workers and memory limit of the inner launcher, which runs the groups of replicas."""

import os

import pytest
import torch
from omegaconf import OmegaConf

from start_training.launchers import inner_launcher
from start_training.launchers.inner_launcher import memory_limit, workers_of
from tests.small_runs import CONF

GPU, CPU = "gpu", "cpu"
JOBLIB = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"}
LOCAL = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"}
SLURM = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "mem_gb": 16}
BASIC = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}
PROCESS = dict(OmegaConf.load(CONF / "hydra/launcher/process.yaml"))


@pytest.mark.parametrize(
    ("launcher", "gpus", "workers"),
    [
        (BASIC, 8, 1),
        (PROCESS, 0, 1),
        (PROCESS, 8, 8),
        (PROCESS | {"jobs": 3}, 8, 3),
        (JOBLIB | {"n_jobs": 3}, 0, 3),
        (JOBLIB | {"n_jobs": -1}, 0, os.cpu_count()),
        (LOCAL, 2, 2),
        (SLURM, 8, 1),  # on other machines
    ],
)
def test_number_of_groups_that_train_at_a_time_on_this_machine(monkeypatch, launcher, gpus, workers):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert workers_of(launcher) == workers


@pytest.mark.parametrize(
    ("launcher", "accelerator", "workers", "gpus", "available", "limit"),
    [
        (BASIC, CPU, 1, 0, 1000, 600),
        (PROCESS, CPU, 3, 0, 1000, 200),
        (PROCESS, GPU, 8, 8, 1000, 600),  # one to a GPU
        (PROCESS, GPU, 9, 8, 1000, 300),
        (PROCESS, CPU, 2, 8, 1000, 300),
        (JOBLIB, GPU, 2, 8, 1000, 300),  # its workers all take the first GPU
        (BASIC, GPU, 1, 0, None, None),
        (SLURM, GPU, 1, 8, 1000, None),  # the GPU is another machine's
        (SLURM, CPU, 1, 0, 1000, int(0.6 * 16 * 2**30)),
    ],
)
def test_the_memory_limit_of_a_group_is_a_share_of_its_workers_memory(
    monkeypatch, launcher, accelerator, workers, gpus, available, limit
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(inner_launcher, "available_bytes", lambda accelerator: available)
    assert memory_limit(launcher, accelerator, workers) == limit
