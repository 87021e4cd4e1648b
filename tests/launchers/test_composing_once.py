"""Each job of a multirun is composed once: for the plan, and for the launcher that starts it."""

import pickle

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from start_training.config.composed import JobLoader, composed_job
from start_training.launchers import process_launcher
from tests.launchers.test_processes_launcher import Machine
from tests.launchers.test_sweep import sweep as sweep  # the fixture
from tests.small_runs import CONF


@pytest.fixture
def composed(monkeypatch) -> list[list[str]]:
    """The overrides of each job that Hydra composes."""
    jobs, compose = [], ConfigLoaderImpl.load_sweep_config

    def counted(loader, master_config, sweep_overrides):
        jobs.append([word for word in sweep_overrides if word.startswith(("seed=", "++replicas"))])
        return compose(loader, master_config, sweep_overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    return jobs


@pytest.mark.parametrize("launcher", ["basic", "process", "replicas"])
def test_each_job_is_composed_once(sweep, composed, monkeypatch, launcher):
    machine = Machine([0])
    if launcher == "process":
        monkeypatch.setattr(process_launcher.subprocess, "Popen", machine.start)
    by_number = "hydra.sweep.subdir=${hydra.job.num}"  # which is known once a job is composed
    assert sweep(f"hydra/launcher={launcher}", "seed=0,1,2", by_number)[0] == 0
    group = [["seed=0", "++replicas=true"]] if launcher == "replicas" else []  # which is a job of its own
    assert composed == [["seed=0"], ["seed=1"], ["seed=2"], *group]
    assert len(machine.begun) == (3 if launcher == "process" else 0)
    composed.clear()
    assert sweep(f"hydra/launcher={launcher}", "seed=1,2,3")[0] == 0
    assert composed[:3] == [["seed=1"], ["seed=2"], ["seed=3"]]


def test_a_copy_is_what_was_composed_and_a_worker_gets_hydras_own_loader(tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydras = GlobalHydra.instance().config_loader()
        loader = JobLoader(hydras)
        multirun = loader.load_configuration("train", [f"hydra.sweep.dir={tmp_path}"], RunMode.MULTIRUN)
        jobs = [composed_job(multirun, each, ["seed=3"], 7) for each in (hydras, loader, loader)]
        jobs[1].seed = 4  # which is not the other copy's
        assert OmegaConf.to_container(jobs[0]) == OmegaConf.to_container(jobs[2])
        assert jobs[0].hydra.sweep.subdir == jobs[2].hydra.sweep.subdir
        assert type(pickle.loads(pickle.dumps(loader))) is ConfigLoaderImpl
