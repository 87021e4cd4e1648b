"""Record signals that request a stop, so that a loop can end at a point where no work is lost."""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DeferredSignals:
    """Record the first SIGINT or SIGTERM received between `watch` and `release` instead of stopping the process.

    A second signal raises KeyboardInterrupt. Only the main thread can handle signals; other threads record none.

    Attributes:
        first: The number of the first signal received, 0 before that.
    """

    def __init__(self) -> None:
        self.first = 0
        self._handlers: dict[int, Any] = {}

    def watch(self) -> None:
        """Install the signal handlers."""
        self.first = 0
        if threading.current_thread() is threading.main_thread():
            self._handlers = {signum: signal.signal(signum, self._record) for signum in SIGNALS}

    def release(self) -> None:
        """Restore the previous signal handlers."""
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def __enter__(self) -> "DeferredSignals":
        self.watch()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _record(self, signum: int, frame: FrameType | None) -> None:
        if self.first:
            raise KeyboardInterrupt
        self.first = signum
