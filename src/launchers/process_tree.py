"""Run a job in its own process tree: whether it needs one, its command line, and its end when its parent ends."""

import ctypes
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.utils import filter_overrides
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from start_training.launchers.grouping import check_replicas
from start_training.launchers.traits import LauncherTraits, traits_of
from start_training.settings import positive_integer
from start_training.stop_signals import blocked, deferred, received

SWEEP = "HOW_TO_START_TRAINING_SWEEP"
PARENT = "HOW_TO_START_TRAINING_PARENT"
DISK_IS_FULL = 74  # EX_IOERR of BSD: exit status by which a job of a sweep tells the launcher to start no further job
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
# Overrides of Hydra's settings that are not passed to a single job: they belong to the sweep, or are set anew.
OF_SWEEPS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweep")  # keys that only a multirun reads
_SWEEP_KEYS = (*OF_SWEEPS, "hydra.mode")


def starts_processes(trainer: Mapping[str, Any] | None) -> bool:
    """Return whether Lightning would start processes for further ranks.

    Lightning does so for several devices or a strategy, unless SLURM or torchrun has already started the ranks.

    Args:
        trainer: the config node `trainer`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available")  # on a login node
        if SLURMEnvironment.detect() or TorchElasticEnvironment.detect():
            return False
    trainer = trainer or {}
    return trainer.get("strategy", "auto") != "auto" or trainer.get("devices", 1) not in (1, "auto")


def check_launcher(trainer: Mapping[str, Any] | None, launcher: Mapping[str, Any]) -> None:
    """Raise ValueError if a launcher cannot run a job with this trainer.

    A job of several processes needs its own process tree: Lightning starts the other ranks by repeating the command
    line, which in a multirun is that of the whole sweep, and sets environment variables that would make the next job
    in this process a rank of the previous one. Replicas share one device (`check_replicas`).

    Args:
        trainer: the config node `trainer`.
        launcher: the config node `hydra.launcher`.
    """
    traits, name = traits_of(launcher), str(launcher["_target_"]).rpartition(".")[2]
    _check_jobs(launcher, traits)
    if sys.platform == "win32" and not traits.windows:
        raise ValueError(
            f"hydra.launcher = {name}: needs process groups, which Windows lacks; use hydra/launcher=basic"
        )
    if traits.trains_replicas:
        check_replicas({"trainer": trainer})
    elif starts_processes(trainer) and not traits.process_tree:
        devices, strategy = (trainer or {}).get("devices"), (trainer or {}).get("strategy")
        raise ValueError(
            f"trainer.devices = {devices}: with trainer.strategy = {strategy} a job starts several processes, which "
            f"{name} does not support; add hydra/launcher=process"
        )


def _check_jobs(launcher: Mapping[str, Any], traits: LauncherTraits) -> None:
    """Raise ValueError for a number of jobs at a time that the launcher does not accept."""
    setting = traits.jobs_setting
    if setting is None or (jobs := launcher.get(setting)) is None or (traits.counts_cores and jobs < 0):
        return
    positive_integer(f"hydra.launcher.{setting}", jobs)


def command(hydra: Any, overrides: Sequence[str], directory: Path) -> list[str]:
    """Return the command line that runs one job of a multirun as a single run.

    Args:
        hydra: the node `hydra` of the job's config.
        overrides: the overrides of the job.
        directory: the run directory of the job.
    """
    sources = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    hydra_overrides = [word for word in hydra.overrides.hydra if not word.lstrip("+~").startswith(_SWEEP_KEYS)]
    return [
        *(sys.executable, "-m", "start_training.cli", str(hydra.job.name)),
        *("--config-name", str(hydra.job.config_name)),
        *(word for path in sources for word in ("--config-dir", str(path))),
        *filter_overrides(overrides),
        *hydra_overrides,
        "hydra.mode=RUN",
        f"hydra.run.dir='{directory}'",
    ]


def environment(sweep: str, **more: str) -> dict[str, str]:
    """Return the environment variables for a job's process tree: those of this process, its id, the name of the sweep.

    Args:
        sweep: name of the sweep.
        more: additional variables.
    """
    return {**os.environ, SWEEP: sweep, PARENT: str(os.getpid()), **more}


@contextmanager
def ranks_end_with_this_process() -> Iterator[None]:
    """Make the ranks that Lightning starts within the block end when this process ends, by `end_with_parent`."""
    os.environ[PARENT] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(PARENT, None)


def end_with_parent() -> None:
    """Make this process end when the launcher, or rank 0, that started it ends. Otherwise, do nothing."""
    parent = os.environ.pop(PARENT, None)  # removed, since processes started by this process have another parent
    if parent is not None:
        die_with_parent()
        if os.getppid() != int(parent):  # the launcher has already ended
            sys.exit(1)


def die_with_parent() -> None:
    """Make the kernel kill this process when its parent ends, even by SIGKILL. Does nothing outside Linux.

    Otherwise a job of a killed sweep would keep running and keep its directory locked, and a rank would wait for others
    without an end.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def run_in_process_tree(hydra: Any, overrides: Sequence[str], directory: Path, sweep: str) -> int:
    """Run a job of a multirun in its own process tree, wait for its end, and return its exit status.

    Args:
        hydra: the node `hydra` of the job's config.
        overrides: the overrides of the job.
        directory: the run directory of the job.
        sweep: name of the sweep.
    """
    process: subprocess.Popen[bytes] | None = None

    def on_request(requests: int) -> None:
        if process is not None and process.poll() is None:
            os.killpg(process.pid, received())  # with its ranks, which are in a session of their own

    with deferred(on_request):
        with blocked():
            process = subprocess.Popen(
                command(hydra, overrides, directory), env=environment(sweep), start_new_session=True
            )
        if received():  # while the process was starting
            on_request(1)
        return process.wait()
