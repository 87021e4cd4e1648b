"""A command whose config Hydra composes: from conf/ of this package, and from the user's own with --config-dir."""

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass

from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from omegaconf import DictConfig

from start_training.config.composed import CONF, register_resolvers

register_resolvers()  # in a launcher's workers too, which import this module for the function below
_statuses: list[int] = []


@dataclass(frozen=True)
class JobFunction:
    """What Hydra calls with each job's config. Launchers pickle it for their workers: it is imported there by name."""

    function: str
    go_on: str | None  # what a job says after a signal; None: the function takes the config alone, and says it itself

    def __call__(self, config: DictConfig) -> int:
        function = pkgutil.resolve_name(self.function)
        if self.go_on is None:
            status = function(config)
        else:
            from start_training.cli.hydra_job import run_job  # here, so that --help does not wait for torch

            status = run_job(config, function, after_interrupt=self.go_on)
        _statuses.append(status or 0)
        return status or 0


def run_composed(name: str, function: JobFunction, words: Sequence[str]) -> int:
    """Call a function with the config conf/`name`.yaml as the words typed change it, or with each job's of a multirun.

    As `hydra.main` does, which reads sys.argv; Lightning starts ranks by it, and it holds the command's name, too.

    Returns:
        The largest exit status that the function returned in this process.
    Raises:
        ValueError: --experimental-rerun was typed.
    """
    version.setbase("1.3")
    _statuses.clear()
    parser = get_args_parser()
    arguments = parser.parse_args(words)
    if arguments.experimental_rerun is not None:
        raise ValueError("--experimental-rerun: runs leave no pickled job; the same command goes on with a run")
    _run_hydra(
        args=arguments,
        args_parser=parser,
        task_function=function,
        config_path=str(CONF),
        config_name=name,
    )
    return max(_statuses, default=0)
