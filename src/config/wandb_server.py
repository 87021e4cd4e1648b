"""Whether the W&B server can be used: asked before a run starts, or once for all jobs of a sweep."""

import inspect
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import wandb

from start_training.config.mistakes import name_group_in_errors
from start_training.settings import OneOf, checked, one_line

# W&B reports its errors to the server by OpenTelemetry, which prints a line if a server refuses that.
logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
FALLBACKS = ("offline", "error")
UNREACHABLE = "HOW_TO_START_TRAINING_WANDB_UNREACHABLE"  # environment variable: the reason, for all jobs of a sweep
SECONDS = 18.0  # to log in and to start the run; W&B's own limits allow 90
LEAST = 5.0  # of these, for starting the run
_ANSWER = 8  # seconds that the server has to answer a login


class ServerError(ValueError):
    """Raised when W&B cannot be used online and the fallback is `error`."""


@contextmanager
def asked_once(nodes: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[None]:
    """Ask the W&B server of each logger node before the jobs of a sweep start; in the block, no job asks again.

    Args:
        nodes: name and node of the W&B loggers of all jobs; equal nodes are asked once.
    Raises:
        ServerError: the server cannot be used, and the fallback of a node is `error`.
    """
    before = os.environ.get(UNREACHABLE)
    distinct = {json.dumps(node, sort_keys=True, default=str): (name, node) for name, node in nodes}
    try:
        for name, node in distinct.values():
            if is_online(node) and UNREACHABLE not in os.environ and (reason := login_error(node)):
                fall_back(name, node, reason, of="all runs of this command are")
        yield
    finally:
        os.environ.pop(UNREACHABLE, None)
        if before is not None:
            os.environ[UNREACHABLE] = before


def is_online(node: Mapping[str, Any]) -> bool:
    """Return whether a W&B logger node asks for an online run."""
    settings = node.get("settings") or {}
    mode = node.get("mode") or settings.get("mode") or os.environ.get("WANDB_MODE") or "online"
    return not node.get("offline") and mode in ("online", "run", "shared")


@checked
def check_fallback(*, fallback: Annotated[str, OneOf(FALLBACKS)] = "offline") -> str:
    """Return the setting `fallback`, or raise ValueError if it is not allowed."""
    return fallback


def fall_back(name: str, node: Mapping[str, Any], reason: str, *, of: str = "the run is") -> None:
    """Say once that W&B cannot be used, and let this process and its child processes log offline.

    Args:
        name: name of the logger in the config group `logger`.
        node: its node.
        reason: why the server cannot be used.
        of: beginning of the clause "… logged offline".
    Raises:
        ServerError: the fallback of the node is `error`.
    """
    message = f"logger.{name}.mode = online: W&B cannot be used online ({reason})"
    if node.get("fallback", "offline") == "error":
        raise ServerError(f"{message}; set logger.{name}.fallback=offline to log offline then")
    print(f"{message}; {of} logged offline, for wandb sync", file=sys.stderr)
    os.environ[UNREACHABLE] = reason


def login_error(node: Mapping[str, Any]) -> str | None:
    """Log in to the W&B server without asking on the terminal; return why it failed, None if it succeeded.

    A key among the settings of the node is not tried here, but when the run starts.
    """
    settings = {key: value for key, value in (node.get("settings") or {}).items() if key != "mode"}
    if settings.get("api_key"):
        return None
    began = time.monotonic()
    # Older versions lack the argument, and ask for a key on a terminal.
    quiet: dict[str, Any] = {"prompt": False} if "prompt" in inspect.signature(wandb.login).parameters else {}
    with name_group_in_errors("logger.wandb", node):
        server = wandb.setup(wandb.Settings(**settings)).settings.base_url
    with _http_timeout():
        try:
            if wandb.login(verify=True, **quiet):
                return None
        except wandb.errors.Error as error:
            if time.monotonic() - began >= _ANSWER:
                return f"no answer from {server} within {_ANSWER} s"
            return one_line(error)
    return f"no API key for {server}; type wandb login, or set WANDB_API_KEY"


@contextmanager
def _http_timeout() -> Iterator[None]:
    given = "WANDB_HTTP_TIMEOUT" in os.environ
    os.environ.setdefault("WANDB_HTTP_TIMEOUT", str(_ANSWER))
    try:
        yield
    finally:
        if not given:
            del os.environ["WANDB_HTTP_TIMEOUT"]
