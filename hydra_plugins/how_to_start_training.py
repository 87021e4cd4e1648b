"""What Hydra finds by scanning: this project's sweeper and launchers. Hydra imports this file in every application of
the environment, so it imports Hydra alone; what does the work is imported when a plugin is set up."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ResumableSweeper(BasicSweeper):
    """Hydra's own grid, of which only those jobs are launched that their directories do not say are finished."""

    def sweep(self, arguments: list[str]) -> Any:
        from start_training.launchers.sweep import Sweep

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(overrides, self.max_batch_size)
        return Sweep(self.config, self.launcher, self.hydra_context.config_loader).run(batches)


class ProcessLauncher(Launcher):
    """Every job a process tree of its own, `jobs` at a time; null: as many as there are GPUs, or one."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from start_training.launchers.processes import launch

        self.hydra_context, self.config, self._launch = hydra_context, config, launch

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        loader = self.hydra_context.config_loader
        return self._launch(self.config, loader, job_overrides, initial_job_idx, jobs=self.jobs)


class ReplicasLauncher(Launcher):
    """Jobs of equal shapes in groups that train as one program each, handed to the launcher `inner`."""

    def __init__(
        self,
        inner: str | None = None,
        settings: Any = None,
        max_size: int | None = None,
        checkpoint_seconds: float = 30,
    ) -> None:
        """The settings of conf/hydra/launcher/replicas.yaml, which `setup` reads in its config."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from start_training.launchers.replicas import Replicas

        self.replicas = Replicas.of(config, hydra_context, task_function)
        self.keep = self.replicas.keep

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.replicas.launch(job_overrides, initial_job_idx)
