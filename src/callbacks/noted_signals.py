"""Signals that ask a run to stop: noted, so that a loop ends where nothing is lost."""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class NotedSignals:
    """`first`: the first SIGINT or SIGTERM between `watch` and `release`, 0 while there is none.

    A second one raises KeyboardInterrupt. Only the main thread can watch; in others nothing is ever noted.
    """

    def __init__(self) -> None:
        self.first = 0
        self._handlers: dict[int, Any] = {}

    def watch(self) -> None:
        """Take the place of the handlers that are there."""
        self.first = 0
        if threading.current_thread() is threading.main_thread():
            self._handlers = {signum: signal.signal(signum, self._note) for signum in SIGNALS}

    def release(self) -> None:
        """Put them back."""
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def __enter__(self) -> "NotedSignals":
        self.watch()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.first:
            raise KeyboardInterrupt
        self.first = signum
