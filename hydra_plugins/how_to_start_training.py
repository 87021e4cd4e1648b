"""The sweeper and the launchers of this project, which Hydra discovers by scanning the package `hydra_plugins`.

Hydra imports this file in every application of the environment, so the file imports only Hydra; the implementation is
imported in `setup`.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ResumableSweeper(BasicSweeper):
    """Hydra's grid sweeper, except that jobs whose run directory shows that they have finished are not launched."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from start_training.config.composed import JobLoader

        context = HydraContext(JobLoader(hydra_context.config_loader), hydra_context.callbacks)
        super().setup(hydra_context=context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        from start_training.config.overrides import check_overrides
        from start_training.launchers.sweep import Sweep, check_grid, check_sweeper

        check_sweeper(self.params, self.max_batch_size)
        check_overrides(self._parse_config(), self.hydra_context.config_loader)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        check_grid(overrides)
        batches = self.split_arguments(overrides, self.max_batch_size)
        return Sweep(self.config, self.launcher, self.hydra_context.config_loader).run(batches)


class OptunaSweeper(ResumableSweeper):
    """A search by Optuna whose trials are pruned while they run and resume after a kill; see conf/hydra/sweeper."""

    def __init__(self, params: dict[str, Any] | None = None, **settings: Any) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.settings = settings

    def sweep(self, arguments: list[str]) -> Any:
        from start_training.launchers.growing_sweep import GrowingSweep
        from start_training.launchers.optuna_sweep import OptunaSearch, SearchSettings, parsed
        from start_training.launchers.sweep import check_sweeper
        from start_training.settings import settings_from

        check_sweeper(self.params, None)
        loader = self.hydra_context.config_loader
        settings = settings_from(SearchSettings, self.settings, "hydra.sweeper")
        sweep = GrowingSweep(self.config, self.launcher, loader)
        return OptunaSearch(sweep, settings, parsed([*self._parse_config(), *arguments], loader)).run()


class ProcessLauncher(Launcher):
    """Launcher that runs each job in its own process tree.

    Args:
        jobs: how many jobs run at a time; None: as many as there are GPUs, or 1 without a GPU.
    """

    traits: ClassVar = {"process_tree": True, "jobs_setting": "jobs", "pins_gpus": True}

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from start_training.launchers.process_launcher import launch

        self.hydra_context, self.config, self._launch = hydra_context, config, launch

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        loader = self.hydra_context.config_loader
        return self._launch(self.config, loader, job_overrides, initial_job_idx, jobs=self.jobs)


class ReplicasLauncher(Launcher):
    """Launcher that trains jobs of equal tensor shapes in groups, one program per group, through an inner launcher."""

    traits: ClassVar = {"trains_replicas": True, "windows": True}

    def __init__(
        self,
        inner: str | None = None,
        settings: Any = None,
        max_size: int | None = None,
        checkpoint_seconds: float = 30,
    ) -> None:
        """Accept the settings of conf/hydra/launcher/replicas.yaml; `setup` reads their values from the config."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from start_training.launchers.replicas_launcher import Replicas

        self.replicas = Replicas(config, hydra_context, task_function)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.replicas.launch(job_overrides, initial_job_idx)
