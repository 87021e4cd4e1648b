"""SIGINT (Ctrl-C) and SIGTERM: they end the process, or wait until the work in progress has been saved.

A command calls `end_on_signals` first. While `raising` is open, a signal raises `Interrupted` instead; while `deferred`
is open, it is only recorded, and the work calls `check` at points where it can stop without loss.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds after a signal in which another one counts as the same request: a terminal sends Ctrl-C to `uv run` and to its
# child, and `uv run` sends it to the child again.
SAME_REQUEST = 1.0

OnRequest = Callable[[int], None]


class Interrupted(BaseException):
    """Raised when a signal ends the work in progress. Not an `Exception`, so that handlers of errors do not catch it.

    Args:
        signum: The number of the signal.
        on_all_ranks: Whether all ranks of a distributed run raise it at the same step.

    Attributes:
        exit_status: 128 + signum, the convention of POSIX shells.
    """

    def __init__(self, signum: int, *, on_all_ranks: bool = False) -> None:
        super().__init__(f"{signal.Signals(signum).name} received")
        self.exit_status, self.on_all_ranks = 128 + signum, on_all_ranks


@dataclass
class _State:
    first: int = 0  # the number of the first signal
    requests: int = 0  # signals received, without those that repeat a request
    newest: float = -SAME_REQUEST  # time of the newest request, in seconds
    modes: list[OnRequest] = field(default_factory=list)  # of the open contexts, the innermost last


_state = _State()


def end_on_signals() -> None:
    """Let signals end this process without a traceback, with status 130 (SIGINT) or 143 (SIGTERM), until it ends.

    Signals that a launcher has blocked in this process until now are delivered. An ignored SIGINT stays ignored.
    """
    _listen()
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def received() -> int:
    """Return the number of the first signal received while a context of this module is open, 0 if none was."""
    return _state.first if _state.modes else 0


def deferring() -> bool:
    """Return whether signals are only recorded at present, because the innermost open context is `deferred`."""
    return bool(_state.modes) and _state.modes[-1] is not _raise_at_first


def check() -> None:
    """Raise `Interrupted` if a signal was received while a context of this module is open."""
    if received():
        raise Interrupted(received())


@contextmanager
def deferred(on_request: OnRequest | None = None) -> Iterator[None]:
    """Record the first signal instead of stopping; the block calls `check` or `received` where it can stop.

    A second signal raises `Interrupted` at once, and a third one ends the process. Signals in the second after a signal
    repeat it and are ignored. Only the main thread can handle signals; in other threads this does nothing.

    Args:
        on_request: Called instead at each signal that is not a repetition, with the number of such signals.
    Raises:
        Interrupted: at the end of the block, if a signal was received, unless an outer block defers signals, too.
    """
    with _mode(on_request or _raise_at_second) as in_main_thread:
        yield
    if in_main_thread and _state.first and not deferring():
        raise Interrupted(_state.first)


@contextmanager
def raising() -> Iterator[None]:
    """Raise `Interrupted` in the main thread as soon as a signal is received within the block."""
    with _mode(_raise_at_first):
        check()  # received while an outer context was deferring signals
        yield


def listen_again() -> None:
    """Install the handlers again if a context of this module is open; Lightning's Trainer replaces that of SIGTERM."""
    if _state.modes:
        _listen()


@contextmanager
def blocked() -> Iterator[None]:
    """Hold back signals to this process and to processes that are started within the block.

    A process that is started inherits the block, so that no signal reaches it before it calls `end_on_signals`.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _mode(on_request: OnRequest) -> Iterator[bool]:
    """Call `on_request` for signals within the block. Yield False in other threads than the main one: they get none."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    if not _state.modes:
        _state.first, _state.requests, _state.newest = 0, 0, -SAME_REQUEST
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    _state.modes.append(on_request)
    _listen()
    try:
        yield True
    finally:
        _state.modes.pop()
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def _listen() -> None:
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # ignored by `nohup` or a shell's `&`
            signal.signal(signum, _on_signal)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if now - _state.newest < SAME_REQUEST:
        return
    _state.first, _state.requests, _state.newest = _state.first or signum, _state.requests + 1, now
    (_state.modes[-1] if _state.modes else _end)(_state.requests)


def _raise_at_first(requests: int) -> None:
    if requests > 1:
        _end(requests)
    raise Interrupted(_state.first)


def _raise_at_second(requests: int) -> None:
    if requests > 2:
        _end(requests)
    if requests == 2:
        raise Interrupted(_state.first)


def _end(requests: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(RuntimeError, ValueError, OSError):  # the signal arrived in the middle of a write to it
            stream.flush()
    os._exit(128 + _state.first)
