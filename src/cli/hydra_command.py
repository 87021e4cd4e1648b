"""Commands whose config Hydra composes, from conf/ of this package and from directories given by --config-dir."""

import os
import pkgutil
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig

from start_training.cli.arguments import parse
from start_training.config.composed import CONF, register_resolvers
from start_training.config.overrides import check_overrides, loader_of
from start_training.files.closed_pipe import discarding_unread_output

register_resolvers()  # at import, so that it also happens in a launcher's workers, which unpickle JobFunction
_statuses: list[int] = []


@dataclass(frozen=True)
class JobFunction:
    """The task function that Hydra calls with the config of each job; returns its objective or its exit status.

    Launchers pickle it for their workers, so it holds the name of the function instead of the function.

    Args:
        function: full dotted name. It is called with (Job, DictConfig), or with the DictConfig if `resume_hint` is
            None.
        resume_hint: how to continue, printed when a signal ends the job; None: the function handles signals itself.
    """

    function: str
    resume_hint: str | None

    def __call__(self, config: DictConfig) -> Any:
        with discarding_unread_output():  # for a worker, in which nothing else of this package is called
            return self._call(config)

    def _call(self, config: DictConfig) -> Any:
        function = pkgutil.resolve_name(self.function)
        if self.resume_hint is None:
            return function(config)  # the objective of a training
        else:
            from start_training.cli.hydra_job import run_job  # imported late: --help needs no torch

            status = run_job(config, function, resume_hint=lambda _: self.resume_hint or "")
        _statuses.append(status or 0)
        return status or 0


def run_composed(name: str, function: JobFunction, words: Sequence[str]) -> int:
    """Compose conf/`name`.yaml with command-line overrides and call a function with the config of each job.

    This replaces `hydra.main`, which would parse `sys.argv`: there the first argument may be the name of the command,
    and `sys.argv` has to stay unchanged because Lightning repeats it to start further ranks.

    Args:
        name: name of the primary config, which is the name of the command.
        function: called once for a single run, and once per job of a multirun.
        words: command-line arguments after the command: Hydra's flags and overrides.
    Returns:
        The largest exit status that the function returned in this process.
    Raises:
        ValueError: the arguments contain --experimental-rerun, which is not supported.
    """
    version.setbase("1.3")
    _statuses.clear()
    parser = get_args_parser()
    parser.prog = f"start-training {name}"
    arguments = parse(parser, words)
    if arguments.experimental_rerun is not None:
        raise ValueError(
            "--experimental-rerun: not supported; to continue a run, repeat its command with the same hydra.run.dir"
        )
    loader = loader_of(filter(None, [arguments.config_path, arguments.config_dir]))
    _check_options(arguments, loader)
    check_overrides(arguments.overrides, loader)
    _run_hydra(
        args=arguments,
        args_parser=parser,
        task_function=function,
        config_path=str(CONF),
        config_name=name,
    )
    return max(_statuses, default=0)


def _check_options(arguments: Namespace, loader: ConfigLoader) -> None:
    if arguments.config_dir and not os.path.isdir(arguments.config_dir):
        raise ValueError(f"--config-dir = {arguments.config_dir}: no such directory")
    name, names = arguments.config_name, loader.get_group_options("", ObjectType.CONFIG)
    if name and name.removesuffix(".yaml") not in names and "/" not in name:
        raise ValueError(f"--config-name = {name}: no such config; must be one of {', '.join(names)}")
