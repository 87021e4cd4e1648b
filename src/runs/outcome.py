"""How a run can end, besides reaching its end."""

import signal


class Diverged(Exception):
    """The training loss at `step` is not finite: a result, not a failure."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the training loss at step {step} is not finite")
        self.step = step


class Interrupted(Exception):
    """A signal asked the run to end; its checkpoint is on disk."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"{signal.Signals(signum).name} received")
        self.exit_status = 128 + signum  # the shell's convention
