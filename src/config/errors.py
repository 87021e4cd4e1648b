"""A user's mistake is printed in one line instead of a traceback."""

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
from start_training.settings import named_in, one_line

FULL_ERROR = "HYDRA_FULL_ERROR"
register_resolvers()


def run(main: Callable[[], Any]) -> None:
    """Call a `hydra.main` function; end with status 1 and one line where a user's setting is at fault.

    With HYDRA_FULL_ERROR=1 the traceback comes, as from any Hydra application.
    """
    if os.environ.get(FULL_ERROR) == "1" and not prints_errors():
        main()
        return
    os.environ[_PRINTS_ERRORS] = "1"
    os.environ[FULL_ERROR] = "1"  # Hydra is to hand its errors over rather than print them
    try:
        main()
    except ReportedError:
        sys.exit(1)
    except Exception as error:
        if not is_users_mistake(error):
            raise
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        del os.environ[FULL_ERROR], os.environ[_PRINTS_ERRORS]


_PRINTS_ERRORS = "HOW_TO_START_TRAINING_TAKES_ERRORS"  # a variable, so that a launcher's workers know it, too


class ReportedError(Exception):
    """A job of a multirun has failed, and its error has been printed."""


def prints_errors() -> bool:
    """Whether a user's mistake is printed in one line instead of a traceback."""
    return _PRINTS_ERRORS in os.environ


@contextmanager
def users_environment() -> Iterator[None]:
    """For a job, and the processes it starts: the environment as it was before `run`."""
    if not prints_errors():
        yield
        return
    os.environ.pop(FULL_ERROR, None)
    try:
        yield
    finally:
        os.environ[FULL_ERROR] = "1"


def typed(command: str) -> str:
    """How a command is typed where this one was: `start-training train`, or `uv run python scripts/train.py`."""
    started = Path(sys.argv[0]).name
    installed = started in ("start-training", "__main__.py")
    return f"start-training {command}" if installed else f"uv run python scripts/{command}.py"


def is_users_mistake(error: BaseException) -> bool:
    """ValueErrors, as raised by this project's checks, what Hydra says of a config, and the file system's refusals."""
    return isinstance(error, ValueError | HydraException | OmegaConfBaseException | OSError)


def print_error(error: BaseException) -> None:
    """Print an error in one line on stderr."""
    print(f"error: {error_message(error)}", file=sys.stderr)


def error_message(error: BaseException) -> str:
    """An error in one line: the setting, its value and what is allowed, as far as the error holds them."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group} = {option}: no such option; there are {', '.join(sorted(error.options))}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not an override, which is key=value ({one_line(error)})"
    if isinstance(error.__cause__, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(error, error.__cause__)
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    if isinstance(error, OSError) and error.filename:
        return _refused(error)
    text = one_line(error).rpartition("Error raised while resolving interpolation: ")[2]
    return text if named_in(text) or isinstance(error, HydraException) else f"{text} ({FULL_ERROR}=1 shows where)"


def _unknown_key(error: BaseException, cause: OmegaConfBaseException) -> str:
    typed = re.search(r"append to your config use \+([^=\s]+)=(.*)", str(error))
    name, value = typed.groups() if typed else (cause.full_key, "…")
    keys = sorted(str(key) for key in cause.parent_node or () if not str(key).startswith("_"))
    return f"{name} = {value}: no such key; there are {', '.join(keys) or 'none'} (+{name}={value} would add it)"


def _refused(error: OSError) -> str:
    """What the file system refused: of Hydra the output directory, as a job says its own errors."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    if not any(module.startswith("hydra.") for module in modules):
        return f"{error.filename}: {error.strerror}"
    setting = "hydra.sweep.dir" if any("sweep" in module for module in modules) else "hydra.run.dir"
    return f"{setting} = {error.filename}: cannot be written to ({error.strerror})"
