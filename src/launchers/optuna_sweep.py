"""A search by Optuna that survives: trials are in SQLite, are pruned while they run, and resume after a kill."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from start_training.config.build_object import build
from start_training.config.build_task import merit_of
from start_training.config.composed import without_hydra
from start_training.launchers.growing_sweep import GrowingSweep
from start_training.launchers.search_space import distributions_of, split_overrides, words_of
from start_training.launchers.traits import traits_of
from start_training.runs.directory import FINISHED, RunDirectory
from start_training.settings import OneOf, PositiveInteger, Seed, checked
from start_training.stop_signals import received
from start_training.tasks.merit import Merit, objective
from start_training.training.optuna_trial import PRUNER, build_pruner, connect, override_of

DATABASE, LOCK = "optuna.db", "optuna.lock"


@checked
@dataclass(frozen=True)
class SearchSettings:
    """The settings of hydra/sweeper=optuna beside the search space."""

    n_trials: PositiveInteger = 20
    n_jobs: PositiveInteger = 1
    sampler: Mapping[str, Any] | None = None
    pruner: Mapping[str, Any] | None = None
    seed: Seed = 0
    storage: str | None = None
    study: str = "search"
    stale: Annotated[str, OneOf(("resume", "fail"))] = "resume"


class OptunaSearch:
    """The trials of a study: asked for in batches, run as jobs of a sweep, and told as soon as a batch has ended.

    Finished trials of the study count, so that the same command started again runs only the trials that are missing.
    A trial that a kill left running is run again with the same settings, and resumes in its run directory.

    Args:
        sweep: The sweep that runs the jobs.
        settings: The settings of the sweeper.
        overrides: The overrides of all jobs, some of which are ranges to search.
    """

    def __init__(self, sweep: GrowingSweep, settings: SearchSettings, overrides: Sequence[Override]) -> None:
        self._sweep, self._settings = sweep, settings
        if traits_of(sweep.config.hydra.launcher).trains_replicas:
            raise ValueError("hydra/launcher = replicas: cannot prune trials; must be another launcher with Optuna")
        searched, self._fixed = split_overrides(overrides)
        self._distributions = distributions_of(searched)
        first = {key: _example(values) for key, values in self._distributions.items()}
        self._merit: Merit = merit_of(without_hydra(sweep.job([*self._fixed, *words_of(first)], 0)))
        self._storage = settings.storage or f"sqlite:///{(sweep.directory / DATABASE).resolve()}"

    def run(self) -> list[Any]:
        """Run trials until the study has `n_trials` of them; return the results of the launched jobs."""
        self._sweep.directory.mkdir(parents=True, exist_ok=True)
        with _locked(self._sweep.directory / LOCK):
            self._study = connect(self._storage, self._settings.study, self._merit)
            build_pruner(self._settings.pruner)  # an error in its settings ends the search before its first trial
            self._study.set_user_attr(PRUNER, dict(self._settings.pruner or {}))
            returns = list(self._run())
        self._report()
        return returns

    def _run(self) -> Iterator[Any]:
        waiting = self._stale()
        number = 0
        with self._sweep.running():
            while waiting or self._missing > 0:
                batch = [waiting.pop(0) for _ in range(min(len(waiting), self._settings.n_jobs))]
                wanted = min(self._settings.n_jobs - len(batch), self._missing)
                batch += [self._ask() for _ in range(max(0, wanted))]
                jobs = [[*self._fixed, *words_of(trial.params), self._override(trial)] for trial in batch]
                yield self._sweep.launch_more(jobs, number)
                number += len(jobs)
                for trial, job in zip(batch, jobs, strict=True):
                    self._tell(trial, self._sweep.directory / self._sweep.jobs[tuple(job)])
                if received():
                    return

    @property
    def _missing(self) -> int:
        return self._settings.n_trials - len(self._study.get_trials(deepcopy=False))

    def _stale(self) -> list[Any]:
        """Return the trials that a killed sweep has left running, or mark them as failed with `stale=fail`."""
        from optuna.trial import Trial, TrialState

        left = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        done = len(self._study.get_trials(deepcopy=False)) - len(left)
        if left or done:
            print(f"study {self._settings.study}: {done} trials finished before, {len(left)} to {self._settings.stale}")
        if self._settings.stale == "fail":
            for trial in left:
                self._study.tell(trial.number, state=TrialState.FAIL)
            return []
        return [Trial(self._study, trial._trial_id) for trial in left]

    def _ask(self) -> Any:
        # A new sampler for each trial, seeded by its number: a search that was killed goes on with the same trials.
        self._study.sampler = self._sampler(len(self._study.get_trials(deepcopy=False)))
        return self._study.ask(self._distributions)

    def _sampler(self, number: int) -> Any:
        node = dict(self._settings.sampler or {"_target_": "optuna.samplers.TPESampler"})
        return build({**node, "seed": self._settings.seed + number}, "hydra.sweeper.sampler")

    def _override(self, trial: Any) -> str:
        return override_of(self._storage, self._settings.study, trial.number)

    def _tell(self, trial: Any, directory: Path) -> None:
        """Tell Optuna how the job of a trial ended; one that was interrupted stays running, to be resumed."""
        from optuna.trial import TrialState

        run = RunDirectory(directory)
        summary = run.summary() or {}
        if run.state not in FINISHED:
            if run.state == "failed" or not run.resumable:
                self._study.tell(trial, state=TrialState.FAIL)
            return
        if (summary.get("trial") or {}).get("pruned"):
            self._study.tell(trial, state=TrialState.PRUNED)
            return
        value = objective(summary["metrics"], summary["status"], self._merit)
        if value is None:
            print(f"trial {trial.number}: {self._merit.monitor} was not logged, only {', '.join(summary['metrics'])}; "
                  "set monitor to one of them", file=sys.stderr)  # fmt: skip
            self._study.tell(trial, state=TrialState.FAIL)
            return
        self._study.tell(trial, value)

    def _report(self) -> None:
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        counts = {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}
        print("trials: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count))
        if counts["complete"]:
            best = self._study.best_trial
            values = " ".join(words_of(best.params))
            print(f"best: trial {best.number}, {self._merit.monitor} = {best.value:.5g}: {values}")
        self._sweep.finish()


def parsed(words: Sequence[str], loader: Any) -> list[Override]:
    """Return overrides as Hydra parses them."""
    return OverridesParser.create(config_loader=loader).parse_overrides(list(words))


def _example(distribution: Any) -> Any:
    choices = getattr(distribution, "choices", None)
    return choices[0] if choices else distribution.low


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a search; raise ValueError if another process has it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"hydra.sweep.dir = {path.parent}: another process runs its search; must be another directory, or wait"
        ) from error
    try:
        yield
    finally:
        lock.release()
