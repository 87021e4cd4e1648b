"""The process tree of one job: whether it needs one, how it is started, and that it ends with its parent."""

import ctypes
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import filter_overrides
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from start_training.launchers.grouping import check_replicas
from start_training.launchers.traits import traits_of

SWEEP = "HOW_TO_START_TRAINING_SWEEP"
PARENT = "HOW_TO_START_TRAINING_PARENT"
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
# Hydra's own settings that belong to the sweep, or that a job is given anew.
_OF_THE_SWEEP = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep", "hydra.mode")


def starts_processes(trainer: Mapping[str, Any] | None) -> bool:
    """Whether Lightning will relaunch the script for other ranks, as it does where nothing has started them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available")  # where a sweep is started
        if SLURMEnvironment.detect() or TorchElasticEnvironment.detect():
            return False
    trainer = trainer or {}
    return trainer.get("strategy", "auto") != "auto" or trainer.get("devices", 1) not in (1, "auto")


def check_launcher(trainer: Mapping[str, Any] | None, launcher: Mapping[str, Any]) -> None:
    """Raises ValueError where a launcher cannot run a job with this trainer.

    A job of several processes needs a process tree of its own: Lightning starts the other ranks by repeating the
    command line, which in a multirun is that of the whole sweep, and sets environment variables by which the next job
    of this process would take itself for a rank of the last one. Replicas share one device (`check_replicas`).
    """
    traits, name = traits_of(launcher), str(launcher["_target_"]).rpartition(".")[2]
    if sys.platform == "win32" and not traits.windows:
        raise ValueError(
            f"hydra.launcher = {name}: needs process groups, which Windows does not have; use hydra/launcher=basic"
        )
    if traits.trains_replicas:
        check_replicas({"trainer": trainer})
    elif starts_processes(trainer) and not traits.process_tree:
        devices, strategy = (trainer or {}).get("devices"), (trainer or {}).get("strategy")
        raise ValueError(
            f"trainer.devices = {devices}: with strategy = {strategy} a job needs a process tree of its own, which "
            f"{name} cannot give it; add hydra/launcher=process"
        )


def command(hydra: Any, overrides: Sequence[str], directory: Path) -> list[str]:
    """The command line that runs one job of a multirun by itself.

    Args:
        hydra: the job's `hydra` node.
        overrides: the job's.
        directory: the job's.
    """
    sources = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    of_hydra = [word for word in hydra.overrides.hydra if not word.lstrip("+~").startswith(_OF_THE_SWEEP)]
    return [
        *(sys.executable, "-m", "start_training.cli", str(hydra.job.name)),
        *("--config-name", str(hydra.job.config_name)),
        *(word for path in sources for word in ("--config-dir", str(path))),
        *filter_overrides(overrides),
        *of_hydra,
        "hydra.mode=RUN",
        f"hydra.run.dir='{directory}'",
    ]


def environment(sweep: str, **more: str) -> dict[str, str]:
    """The environment of a job's process tree: the name of its sweep, the launcher's process id, and more variables."""
    return {**os.environ, SWEEP: sweep, PARENT: str(os.getpid()), **more}


def end_with_parent() -> None:
    """In a job's process tree: end when the launcher that started it dies."""
    parent = os.environ.pop(PARENT, None)  # popped: the ranks that this process starts have another parent
    if parent is not None:
        die_with_parent()
        if os.getppid() != int(parent):  # it died before
            sys.exit(1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, also by SIGKILL; on Linux only.

    Otherwise a job of a killed sweep would go on unseen, and keep its directory locked.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def run_alone(hydra: Any, overrides: Sequence[str], directory: Path, sweep: str) -> int:
    """Run this job of a multirun in a process tree of its own, and return its exit status."""
    return subprocess.run(command(hydra, overrides, directory), env=environment(sweep), check=False).returncode
