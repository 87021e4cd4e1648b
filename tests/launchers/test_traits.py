"""Traits of launchers: stated by their class, listed for launchers of other packages, and the defaults."""

import sys
import types

import pytest
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from start_training.launchers.inner_launcher import memory_limit, workers_of
from start_training.launchers.process_tree import check_launcher
from start_training.launchers.traits import LauncherTraits, traits_of
from start_training.launchers.workers import in_worker, launch

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
PROCESS = "hydra_plugins.how_to_start_training.ProcessLauncher"
REPLICAS = "hydra_plugins.how_to_start_training.ReplicasLauncher"
JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
SUBMITIT_LOCAL = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"
DDP = {"devices": 2, "strategy": "ddp"}


def of_a_user(monkeypatch, **attributes) -> dict[str, str]:
    """Return the config of a custom launcher with these class attributes."""

    class Mine(Launcher):
        def setup(self, **_):
            pass

        def launch(self, job_overrides, initial_job_idx):
            return [*job_overrides, initial_job_idx]

    for name, value in attributes.items():
        setattr(Mine, name, value)
    module = types.ModuleType("a_users_launchers")
    module.Mine = Mine
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return {"_target_": "a_users_launchers.Mine"}


@pytest.mark.parametrize("target", [BASIC, PROCESS, REPLICAS, JOBLIB, SUBMITIT_LOCAL, SLURM, RAY])
def test_every_documented_launcher_has_traits(target):
    assert traits_of({"_target_": target}) != LauncherTraits()


def test_a_custom_launcher_has_the_traits_of_its_class(monkeypatch):
    stated = {"process_tree": True, "jobs_setting": "seats", "pins_gpus": True, "windows": True}
    mine = of_a_user(monkeypatch, traits=stated) | {"seats": 6}
    assert traits_of(mine) == LauncherTraits(**stated)
    check_launcher(DDP, mine)
    assert workers_of(mine) == 6 and not in_worker(mine)
    monkeypatch.setattr("start_training.launchers.inner_launcher.available_bytes", lambda accelerator: 1000)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert memory_limit(mine, "gpu", workers=6) == 300
    with monkeypatch.context() as windows:
        windows.setattr(sys, "platform", "win32")
        check_launcher({}, mine)
    assert in_worker(of_a_user(monkeypatch, traits={"returns_results": True}))


def test_a_launcher_without_traits_has_the_defaults(monkeypatch):
    for attributes in ({}, {"traits": lambda self: None}):  # a method that happens to be called `traits`
        silent = of_a_user(monkeypatch, **attributes)
        assert traits_of(silent) == LauncherTraits() and workers_of(silent) == 1
        check_launcher({}, silent)
        with pytest.raises(ValueError, match=r"which Mine does not support; add hydra/launcher=process$"):
            check_launcher(DDP, silent)


def test_a_custom_launcher_launches_and_its_errors_are_raised_unchanged(monkeypatch):
    config = OmegaConf.create({"hydra": {"launcher": of_a_user(monkeypatch), "runtime": {"choices": {}}}})
    config.hydra.runtime.choices["hydra/launcher"] = "mine"
    mine = sys.modules["a_users_launchers"].Mine
    assert launch(mine(), config, [["seed=1"]], 3) == [["seed=1"], 3]
    for message, kind, expected in (
        ("no luck", RuntimeError, "^no luck$"),
        ("Could not detect 'srun'", ValueError, r"^hydra/launcher = mine: Could not detect"),
    ):

        def fails(self, job_overrides, initial_job_idx, message=message):
            raise RuntimeError(message)

        monkeypatch.setattr(mine, "launch", fails)
        with pytest.raises(kind, match=expected):
            launch(mine(), config, [["seed=1"]], 3)


def test_a_launcher_derived_from_a_known_one_has_its_traits(monkeypatch):
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher

    module = types.ModuleType("derived_launchers")
    module.Derived = type("Derived", (LocalLauncher,), {})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert traits_of({"_target_": "derived_launchers.Derived"}) == traits_of({"_target_": SUBMITIT_LOCAL})
