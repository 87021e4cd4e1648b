"""Between the shell and a job: configs become plain data, and a user's mistake becomes one line."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.runs.config_hash import config_hash

FULL_ERROR = "HYDRA_FULL_ERROR"


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved config as dicts, lists, strings, numbers and None."""
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _hash_of(*, _root_: DictConfig) -> str:
    job = [str(key) for key in _root_ if key not in ("hydra", "logger")]
    return config_hash(plain(OmegaConf.masked_copy(_root_, job)))


# In configs: ${config_hash:}, for directories that two jobs share only if they are the same job.
OmegaConf.register_new_resolver("config_hash", _hash_of, replace=True)


def run(main: Callable[[], Any]) -> None:
    """Call a `hydra.main` function; end with status 1 and one line where a user's setting is at fault.

    With HYDRA_FULL_ERROR=1 the traceback comes, as from any Hydra application.
    """
    global _takes_errors
    if os.environ.get(FULL_ERROR) == "1":
        main()
        return
    _takes_errors = True
    os.environ[FULL_ERROR] = "1"  # Hydra is to hand its errors over rather than print them
    try:
        main()
    except Exception as error:
        if not is_users_mistake(error):
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        del os.environ[FULL_ERROR]


_takes_errors = False


def takes_errors() -> bool:
    """Whether mistakes are to be said in one line, rather than by a traceback."""
    return _takes_errors


@contextmanager
def users_environment() -> Iterator[None]:
    """For a job, and the processes it starts: the environment as it was before `run`."""
    if not _takes_errors:
        yield
        return
    del os.environ[FULL_ERROR]
    try:
        yield
    finally:
        os.environ[FULL_ERROR] = "1"


def is_users_mistake(error: BaseException) -> bool:
    """ValueErrors, as raised by this project's checks, what Hydra says of a config, and the file system's refusals."""
    return isinstance(error, ValueError | HydraException | OmegaConfBaseException | OSError)


def one_line(error: BaseException) -> str:
    """What was wrong, on one line."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group} = {option}: no such option; there are {', '.join(sorted(error.options))}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = str(error)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return f"{unknown[1]}: no such key; +{unknown[1]}=… adds one, --cfg job shows those there are"
    return " ".join(text.split())
