"""Exceptions that end a run before it completes: divergence and signals."""

import signal


class Diverged(Exception):
    """Raised when the training loss at `step` is NaN or infinite. This counts as a result, not as a failure."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the training loss at step {step} is not finite")
        self.step = step


class Interrupted(Exception):
    """Raised when a signal has ended the run, after a checkpoint has been written if training had begun."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"{signal.Signals(signum).name} received")
        self.exit_status = 128 + signum  # convention of POSIX shells
