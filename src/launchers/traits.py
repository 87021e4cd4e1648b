"""Traits of launchers, such as whether jobs run on other machines: stated by the class, or here for other packages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_object


@dataclass(frozen=True)
class LauncherTraits:
    """What a launcher can do, as plain data. A launcher class without traits is assumed to have the defaults.

    A custom launcher states the traits that differ from the defaults in its class: `traits = {"windows": True}`.

    Args:
        process_tree: whether a job may start further processes, such as the ranks of DDP.
        trains_replicas: whether several jobs train in one process, as replicas of one net.
        jobs_setting: name of the launcher's setting for the number of jobs that run at a time on this machine, whose
            value null means one per GPU. None: one job at a time, or all jobs on other machines.
        counts_cores: whether a negative value of that setting counts back from the number of cores, as in joblib.
        pins_gpus: whether each job is restricted to its own GPUs; otherwise all jobs use the first GPU.
        remote: whether jobs run on other machines, whose memory is unknown on this machine.
        child_workers: whether jobs run in child processes that receive signals only from this process, and whose
            death raises a RuntimeError.
        returns_results: whether another process waits for the return value of a job, which `sys.exit` would lose.
        windows: whether the launcher works on Windows.
    """

    process_tree: bool = False
    trains_replicas: bool = False
    jobs_setting: str | None = None
    counts_cores: bool = False
    pins_gpus: bool = False
    remote: bool = False
    child_workers: bool = False
    returns_results: bool = False
    windows: bool = False


_SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher"
_RAY = LauncherTraits(process_tree=True, remote=True, returns_results=True)
_TRAITS_OF_OTHER_PACKAGES = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher": LauncherTraits(windows=True),
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": LauncherTraits(
        jobs_setting="n_jobs", counts_cores=True, child_workers=True
    ),
    f"{_SUBMITIT}.LocalLauncher": LauncherTraits(jobs_setting="jobs", returns_results=True),
    f"{_SUBMITIT}.SlurmLauncher": LauncherTraits(process_tree=True, remote=True, returns_results=True),
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher": _RAY,
    "hydra_plugins.hydra_ray_launcher.ray_aws_launcher.RayAWSLauncher": _RAY,
}


def traits_of(launcher: Mapping[str, Any]) -> LauncherTraits:
    """Return the traits of the launcher that a config node names by its `_target_`.

    Args:
        launcher: the config node `hydra.launcher`.
    Raises:
        TypeError: the class of the launcher states an unknown trait.
    Returns:
        The traits that its class states, else those of the known class that it is derived from.
    """
    target = str(launcher["_target_"])
    if target in _TRAITS_OF_OTHER_PACKAGES:  # without importing the package
        return _TRAITS_OF_OTHER_PACKAGES[target]
    launcher_class = get_object(target)
    stated = getattr(launcher_class, "traits", None)
    if isinstance(stated, Mapping):
        return LauncherTraits(**stated)
    names = (f"{base.__module__}.{base.__qualname__}" for base in getattr(launcher_class, "__mro__", ()))
    known = (_TRAITS_OF_OTHER_PACKAGES[name] for name in names if name in _TRAITS_OF_OTHER_PACKAGES)
    return next(known, LauncherTraits())
