"""What a launcher can do: stated by its class, or here for launchers of other packages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_object


@dataclass(frozen=True)
class LauncherTraits:
    """What a launcher can do. The defaults are what is assumed of a launcher that states nothing.

    A launcher of your own states what differs, as plain data in its class: `traits = {"windows": True}`.

    Args:
        process_tree: a job may start further processes, such as the ranks of DDP.
        trains_replicas: several jobs train in one process, as replicas of one net.
        jobs_setting: the launcher's setting for the number of jobs at a time on this machine, where null is one for
            each GPU; None: one job at a time, or all of them on other machines.
        counts_cores: below zero that setting counts back from the number of cores, as joblib's does.
        pins_gpus: of several GPUs each job gets its own; otherwise all jobs use the first one.
        remote: jobs run on other machines, whose memory is not known here.
        child_workers: jobs run in child processes that get signals from this process only, and whose death raises a
            RuntimeError.
        returns_results: another process waits for what a job returns, and would miss it after `sys.exit`.
        windows: jobs also run on Windows.
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
_OF_OTHERS = {
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
    """The traits of the launcher that a config `hydra.launcher` names by its `_target_`.

    Raises TypeError where its class states a trait that there is not.
    """
    target = str(launcher["_target_"])
    if target in _OF_OTHERS:
        return _OF_OTHERS[target]
    stated = getattr(get_object(target), "traits", None)
    return LauncherTraits(**stated) if isinstance(stated, Mapping) else LauncherTraits()
