"""What Hydra finds by scanning: this project's sweeper and launcher, of which src/jobs does the work."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from src.jobs.composed import register_resolvers

register_resolvers()  # here, so that workers that unpickle a plugin have them, too


class ResumableSweeper(BasicSweeper):
    """Hydra's own grid, of which only those jobs are launched that their directories do not say are finished."""

    def sweep(self, arguments: list[str]) -> Any:
        from src.jobs.sweep import Sweep

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(overrides, self.max_batch_size)
        return Sweep(self.config, self.launcher, self.hydra_context.config_loader).run(batches)


class ProcessLauncher(Launcher):
    """Every job a process tree of its own, `jobs` at a time; null: as many as there are GPUs, or one."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from src.jobs.processes import launch

        return launch(self.config, self.hydra_context.config_loader, job_overrides, initial_job_idx, jobs=self.jobs)


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
        from src.jobs.replicas import Replicas

        self.replicas = Replicas.of(config, hydra_context, task_function)
        self.keep = self.replicas.keep

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.replicas.launch(job_overrides, initial_job_idx)
