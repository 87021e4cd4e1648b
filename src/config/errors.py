"""Print user errors, such as an invalid setting, in one line instead of a traceback."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from start_training.config.composed import register_resolvers
from start_training.runs.damaged_file import DamagedFile
from start_training.settings import named_in, one_line

FULL_ERROR = "HYDRA_FULL_ERROR"
register_resolvers()


def run(main: Callable[[], Any]) -> None:
    """Call `main`; print a user error in one line on stderr and exit with status 1.

    With HYDRA_FULL_ERROR=1 in the environment, errors are raised and give a traceback, as in any Hydra application.

    Args:
        main: the command, without arguments.
    Raises:
        SystemExit: status 1 after a user error or a failed job, 130 after Ctrl-C.
        Exception: any other error of `main`.
    """
    if os.environ.get(FULL_ERROR) == "1" and not prints_errors():
        main()
        return
    os.environ[_PRINTS_ERRORS] = "1"
    os.environ[FULL_ERROR] = "1"  # makes Hydra raise its errors instead of printing them
    try:
        main()
    except ReportedError:
        sys.exit(1)
    except Exception as error:
        if not is_user_error(error):
            raise
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        del os.environ[FULL_ERROR], os.environ[_PRINTS_ERRORS]


# An environment variable, so that a launcher's workers inherit it.
_PRINTS_ERRORS = "HOW_TO_START_TRAINING_TAKES_ERRORS"


class ReportedError(Exception):
    """Raised when a job of a multirun has failed and its error has already been printed."""


def prints_errors() -> bool:
    """Return whether user errors are printed in one line, as within `run`, instead of as a traceback."""
    return _PRINTS_ERRORS in os.environ


@contextmanager
def users_environment() -> Iterator[None]:
    """Remove HYDRA_FULL_ERROR, which `run` has set, while the context is open, for a job and its child processes."""
    if not prints_errors():
        yield
        return
    os.environ.pop(FULL_ERROR, None)
    try:
        yield
    finally:
        os.environ[FULL_ERROR] = "1"


def shell_command(command: str) -> str:
    """Return how to type a command of this project in the shell, in the form in which this process was started.

    For the command train that is `start-training train` or `uv run python scripts/train.py`.
    """
    started = Path(sys.argv[0])
    installed = started.name == "start-training" or started.parts[-2:] == ("cli", "__main__.py")
    return f"start-training {command}" if installed else f"uv run python scripts/{command}.py"


def is_user_error(error: BaseException) -> bool:
    """Return whether an error counts as a user error: a ValueError, or an error of Hydra, OmegaConf or the OS."""
    return isinstance(error, ValueError | HydraException | OmegaConfBaseException | OSError)


def print_error(error: BaseException) -> None:
    """Print an error in one line on stderr."""
    print(f"error: {error_message(error)}", file=sys.stderr)


def error_message(error: BaseException) -> str:
    """Return a one-line message for an error: setting, value and what is allowed, as far as the error has them."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group} = {option}: no such option; must be one of {', '.join(sorted(error.options))}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not a valid override; must be key=value ({one_line(error)})"
    if isinstance(error.__cause__, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(error, error.__cause__)
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    if isinstance(error, OSError) and error.filename:
        return _os_error_message(error)
    text = one_line(error).rpartition("Error raised while resolving interpolation: ")[2]
    hint = (
        ""
        if named_in(text) or isinstance(error, HydraException | DamagedFile)
        else f" (set {FULL_ERROR}=1 for a traceback)"
    )
    return text + hint


def _unknown_key(error: BaseException, cause: OmegaConfBaseException) -> str:
    override = re.search(r"append to your config use \+([^=\s]+)=(.*)", str(error))
    name, value = override.groups() if override else (cause.full_key, "…")
    keys = sorted(str(key) for key in cause.parent_node or () if not str(key).startswith("_"))
    return (
        f"{name} = {value}: no such key; must be one of {', '.join(keys) or 'none'}, or type +{name}={value} to add it"
    )


def _os_error_message(error: OSError) -> str:
    """Return a message with the file name; for an error raised within Hydra, with the setting of the directory."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    if not any(module.startswith("hydra.") for module in modules):
        return f"{error.filename}: {error.strerror}"
    setting = "hydra.sweep.dir" if any("sweep" in module for module in modules) else "hydra.run.dir"
    return f"{setting} = {error.filename}: not writable ({error.strerror})"
