"""Exceptions that end a run before it completes; stop_signals.py has that of signals."""


class Diverged(Exception):
    """Raised when the training loss at `step` is NaN or infinite. This counts as a result, not as a failure."""

    on_all_ranks = True  # all ranks of a run raise it at the same step

    def __init__(self, step: int) -> None:
        super().__init__(f"the training loss at step {step} is not finite")
        self.step = step


class RunLost(ValueError):
    """Raised when memory ran out, or a process or node of the run was lost: the run can resume from its checkpoint."""
