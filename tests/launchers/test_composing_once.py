"""Each job of a multirun is composed by Hydra only once, although both planning and launching load it."""

import pickle

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from start_training.config.composed import JobLoader, compose_job
from start_training.launchers import process_launcher
from start_training.runs.sweep_jobs import read_jobs
from tests.launchers.test_processes_launcher import Machine
from tests.launchers.test_sweep import sweep as sweep  # the fixture
from tests.small_runs import CONF, SMALL

LAUNCHERS = pytest.mark.parametrize("launcher", ["basic", "process", pytest.param("replicas", marks=pytest.mark.slow)])


@pytest.fixture
def composed(monkeypatch) -> list[list[str]]:
    """A list to which the overrides of each job are appended when Hydra composes it."""
    jobs, compose = [], ConfigLoaderImpl.load_sweep_config

    def counted(loader, master_config, sweep_overrides):
        jobs.append([word for word in sweep_overrides if word.startswith(("seed=", "++replicas"))])
        return compose(loader, master_config, sweep_overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    return jobs


@LAUNCHERS
def test_each_job_is_composed_once(sweep, composed, monkeypatch, launcher):
    machine = Machine([0])
    if launcher == "process":
        monkeypatch.setattr(process_launcher.subprocess, "Popen", machine.start)
    by_number = "hydra.sweep.subdir=${hydra.job.num}"  # resolved only after composing
    assert sweep(f"hydra/launcher={launcher}", "seed=0,1,2", by_number)[0] == 0
    group = [["seed=0", "++replicas=true"]] if launcher == "replicas" else []  # the group is a further job
    assert composed == [["seed=0"], ["seed=1"], ["seed=2"], *group]
    assert len(machine.begun) == (3 if launcher == "process" else 0)
    composed.clear()
    assert sweep(f"hydra/launcher={launcher}", "seed=1,2,3")[0] == 0
    assert composed[:3] == [["seed=1"], ["seed=2"], ["seed=3"]]


@LAUNCHERS
def test_the_time_in_the_name_of_a_sweep_is_that_of_the_multirun_for_all_jobs(shell, tmp_path, monkeypatch, launcher):
    """Microseconds pass between planning and launching, which OmegaConf's cache of `now` must bridge."""
    machine = Machine([0])
    if launcher == "process":
        monkeypatch.setattr(process_launcher.subprocess, "Popen", machine.start)
    words = (*SMALL, "trainer.max_epochs=1", f"hydra/launcher={launcher}", "seed=0,1")
    status, _, errors = shell("train", "-m", *words, "hydra.sweep.dir=sweeps/${now:%H-%M-%S-%f}")
    [sweep] = (tmp_path / "sweeps").iterdir()
    planned = {str(sweep / name) for name in read_jobs(sweep)}
    if launcher == "process":
        commands = [" ".join(process.line) for process in machine.begun]
        assert all(any(f"hydra.run.dir='{directory}'" in command for command in commands) for directory in planned)
    else:
        assert (status, errors) == (0, [])
        assert {str(path.parent) for path in sweep.glob("*/summary.json")} == planned


def test_cached_jobs_equal_composed_ones_and_a_pickled_loader_is_hydras(tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra_loader = GlobalHydra.instance().config_loader()
        loader = JobLoader(hydra_loader)
        multirun = loader.load_configuration("train", [f"hydra.sweep.dir={tmp_path}"], RunMode.MULTIRUN)
        jobs = [compose_job(multirun, config_loader, ["seed=3"], 7) for config_loader in (hydra_loader, loader, loader)]
        jobs[1].seed = 4  # does not change the other copy
        assert OmegaConf.to_container(jobs[0]) == OmegaConf.to_container(jobs[2])
        assert jobs[0].hydra.sweep.subdir == jobs[2].hydra.sweep.subdir
        assert type(pickle.loads(pickle.dumps(loader))) is ConfigLoaderImpl
