"""Print user errors, such as an invalid setting, in one line instead of a traceback."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from start_training.config.composed import register_resolvers
from start_training.config.overrides import is_group, loader_of, no_such_option, options_of, options_with
from start_training.files.closed_pipe import UNREAD, discarding_unread_output
from start_training.files.damaged_file import DamagedFile
from start_training.files.disk_errors import DiskError, reason_of
from start_training.settings import named_in, one_line
from start_training.stop_signals import Interrupted

FULL_ERROR = "HYDRA_FULL_ERROR"
register_resolvers()


def run(main: Callable[[], Any]) -> None:
    """Call `main`; print a user error in one line on stderr and exit with status 1.

    With HYDRA_FULL_ERROR=1 in the environment, errors are raised and give a traceback, as in any Hydra application.
    If the reader of the output ends before (`| head`), `main` is completed, and what it prints is discarded.

    Args:
        main: the command, without arguments.
    Raises:
        SystemExit: status 1 after a user error or a failed job, 130 or 143 after a signal; 141 instead of 0 if not all
            output was read, except in a process started by a command, whose parent takes 0 to mean that it succeeded.
        Exception: any other error of `main`.
    """
    started_by_a_command = prints_errors()
    with discarding_unread_output() as pipes:
        try:
            _run(main)
        except SystemExit as end:
            if end.code:
                raise
    if any(pipe.unread for pipe in pipes) and not started_by_a_command:
        sys.exit(UNREAD)


def _run(main: Callable[[], Any]) -> None:
    if os.environ.get(FULL_ERROR) == "1" and not prints_errors():
        try:
            main()
        except Interrupted as interruption:
            sys.exit(interruption.exit_status)
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
    except Interrupted as interruption:
        sys.exit(interruption.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        del os.environ[FULL_ERROR], os.environ[_PRINTS_ERRORS]


# An environment variable, so that a launcher's workers inherit it.
_PRINTS_ERRORS = "HOW_TO_START_TRAINING_TAKES_ERRORS"


class UsageError(ValueError):
    """A mistake in the arguments of a command, such as an unknown option."""


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
        return _no_such_option(error.missing_cfg_file, error.options)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not a valid override; must be key=value ({one_line(error)})"
    if match := re.match(r"Could not load '([\w/.-]+)'", str(error).partition(": ")[2]):
        return _no_such_option(match[1], ())
    if match := re.match(r"'(hydra/\w+)/(\w+)' is validated against ConfigStore schema", str(error)):
        return (
            f"{match[1]} = {match[2]}: an installed plugin of Hydra has the same name (hydra-optuna-sweeper); must be "
            "uninstalled, or be used by a config of your own with another name, see docs/sweeps.md"
        )
    if match := re.match(r"Ambiguous value for argument '([^=]+)=(.*?)' 1\.", one_line(error)):
        sweep = f"type -m for a sweep over them, or '{match[1]}=[{match[2]}]' if it is a list"
        return f"{match[1]} = {match[2]}: several values; must be one value, or {sweep}"
    if match := re.match(
        r"Could not override '(\S+?)'\. (?:No match in the defaults|Did you mean)(.*)", one_line(error)
    ):
        value = next((word.partition("=")[2] for word in sys.argv if word.startswith(f"{match[1]}=")), "…")
        similar = ", ".join(re.findall(r"[\w/]+@[\w.]+", match[2]))
        return f"{match[1]} = {value}: no such group in this command" + (f"; it has {similar}" if similar else "")
    if match := re.match(r"Error merging override (\S+?)=(.*)", one_line(error)):
        cause = str(error.__cause__).splitlines()[0]
        return f"{match[1].lstrip('+~')} = {match[2]}: must have the kind of value that it replaces ({cause})"
    if isinstance(error.__cause__, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(error, error.__cause__)
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    if isinstance(error, DiskError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return _os_error_message(error)
    text = one_line(error).rpartition("Error raised while resolving interpolation: ")[2]
    if not named_in(text) and (override := _applied_override(error)) is not None:
        name, _, value = override.lstrip("+").partition("=")
        return f"{name}{value and f' = {value}'}: cannot be applied here, and must be changed or left out ({text})"
    hint = (
        ""
        if named_in(text) or isinstance(error, HydraException | UsageError | DamagedFile)
        else f" (set {FULL_ERROR}=1 for a traceback)"
    )
    return text + hint


def _applied_override(error: BaseException) -> str | None:
    """Return the override that Hydra was putting into the config when it raised the error; None: it was not."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if "hydra" in frame.f_code.co_filename]
    applied = [
        frame.f_locals.get("override") for frame in frames if frame.f_code.co_name == "_apply_overrides_to_config"
    ]
    return applied[0].input_line if applied and applied[0] is not None else None


def _no_such_option(file: str, options: Sequence[str]) -> str:
    loader, group = loader_of(), file.rpartition("/")[0]
    top = next((head for head in (file.partition("/")[0], group) if is_group(head, loader)), group)
    option = file.removeprefix(f"{top}/")
    said = no_such_option(top, option, sorted({*options_of(top, loader), *(options if top == group else ())}))
    own = next(Path().glob(f"*/{top}/{option}.yaml"), None)
    return said + (f"; {own} needs --config-dir {own.parts[0]}" if own else "")


def _unknown_key(error: BaseException, cause: OmegaConfBaseException) -> str:
    override = re.search(r"append to your config use \+([^=\s]+)=(.*)", str(error))
    name, value = override.groups() if override else (str(cause.full_key), "…")
    keys = {str(key) for key in cause.parent_node or () if not str(key).startswith("_")}
    if cause.parent_node is not None and cause.parent_node._get_parent() is None:
        keys |= _groups_without_choice(error)
    having = [f"{name.partition('.')[0]}={option}" for option in options_with(name, loader_of())]
    hint = f"{' or '.join(having)} as well, which has this key" if having else f"+{name}={value} to add it"
    elsewhere = [path for path in _paths(cause.parent_node) if path.endswith(f".{name}")]
    allowed = f"must be one of {', '.join(sorted(keys)) or 'none'}, or"
    if elsewhere:
        allowed = f"perhaps {' or '.join(elsewhere)}; or"
    elif close := get_close_matches(name.rpartition(".")[2], keys, n=1, cutoff=0.8):
        allowed = f"perhaps {name[: name.rfind('.') + 1]}{close[0]}; {allowed}"
    return f"{name} = {value}: no such key; {allowed} type {hint}"


def _paths(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the full keys in a node of a config, those of Hydra left out."""
    for key in map(str, node if isinstance(node, DictConfig) else ()):
        if key != "hydra":
            yield f"{prefix}{key}"
            yield from _paths(node._get_node(key), f"{prefix}{key}.")


def _groups_without_choice(error: BaseException) -> set[str]:
    """Return the groups of the command that are null by default: one may be typed, but is no key of the config."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if "defaults_list" in frame.f_locals]
    return {
        group
        for frame in frames
        for group, option in frame.f_locals["defaults_list"].overrides.known_choices.items()
        if option is None and "/" not in group
    }


def _os_error_message(error: OSError) -> str:
    """Return a message with the file name; for an error raised within Hydra, with the setting of the directory."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    if not any(module.startswith("hydra.") for module in modules):
        return f"{error.filename}: {reason_of(error)}"
    setting = "hydra.sweep.dir" if any("sweep" in module for module in modules) else "hydra.run.dir"
    return f"{setting} = {error.filename}: must be a directory that can be written ({reason_of(error)})"
