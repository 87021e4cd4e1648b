"""The other processes of a distributed run: why they ended, which rank 0 writes into the summary of the run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic
from typing import Any

from pytorch_lightning.strategies.launchers import subprocess_script
from pytorch_lightning.utilities import rank_zero_only

from start_training.files.replaced_file import replace_text
from start_training.ranks import is_rank_zero
from start_training.runs.directory import RunDirectory
from start_training.stop_signals import SIGNALS, Interrupted, received

GRACE = 10.0  # seconds that rank 0 has to notice that another rank has ended, and a rank to write why it has
POLL = 0.2  # seconds
_FILE = ".rank-{}.error"


@dataclass
class RankProcesses:
    """The ranks above 0 of a run, watched by rank 0 from a thread.

    It replaces Lightning's observer, which kills rank 0 within 5 seconds after another rank has ended, even while
    rank 0 writes its results.

    Args:
        run: The directory of the run, where ranks above 0 write their errors.
        on_hang: Called in the thread with status and reason, if rank 0 still waits for a lost rank after `GRACE`
            seconds. The process then ends.

    Attributes:
        processes: The ranks that Lightning started on this node, rank 1 first; empty if SLURM or torchrun did.
    """

    run: RunDirectory
    on_hang: Callable[[str, str], None]
    processes: Sequence["subprocess.Popen[bytes]"] = ()
    _closed: Event = field(default_factory=Event)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the ranks that Lightning starts within the block, and wait for their end after it."""
        module: Any = subprocess_script  # a type checker does not allow to replace a function
        lightnings = module._launch_process_observer
        module._launch_process_observer = self._watch
        try:
            yield
        finally:
            module._launch_process_observer = lightnings
            self.close()
            ends = monotonic() + GRACE
            for process in self.processes:
                try:
                    process.wait(max(0.0, ends - monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()

    def close(self) -> None:
        """Stop watching: rank 0 has left training, and writes its results."""
        self._closed.set()

    def lost(self) -> tuple[str, str]:
        """Return the status of the run, "failed" or "interrupted", and the reason, after another rank has ended.

        A rank that has raised an error is the reason; it is waited for, since rank 0 notices its end sooner. Otherwise
        the rank was killed, or is on another node that went away.
        """
        ends = monotonic() + GRACE
        while monotonic() < ends:
            for file in sorted(self.run.path.glob(_FILE.format("*"))):
                status, reason = json.loads(file.read_text())
                clear_errors(self.run)
                return status, reason
            for rank, process in enumerate(self.processes, 1):
                if process.poll():
                    return self._end_of(rank, process.returncode)
            self._closed.wait(POLL)
        return "interrupted", "the connection to another rank was lost"

    def _end_of(self, rank: int, status: int) -> tuple[str, str]:
        signum = -status if status < 0 else status - 128
        if status < 0 or signum in SIGNALS:
            return "interrupted", f"rank {rank} was ended by {signal.Signals(signum).name}"
        return "failed", f"rank {rank} ended with status {status}; its error is printed above"

    def _watch(self, processes: Sequence["subprocess.Popen[bytes]"]) -> None:
        self.processes = processes
        Thread(target=self._end_hanging, daemon=True, name="rank-processes").start()

    def _end_hanging(self) -> None:
        while not any(process.poll() for process in self.processes):
            if self._closed.wait(POLL):
                return
        if self._closed.wait(GRACE):
            return
        status, reason = self.lost()
        for process in self.processes:
            process.kill()
        exit_status = 1
        ended_by = {-process.returncode for process in self.processes if process.returncode}
        # All ranks got the signal. This one did not notice it, since it waits for another one outside of Python.
        if signum := received() or next((signum for signum in SIGNALS if ended_by & {signum, -128 - signum}), 0):
            stop = Interrupted(signum)
            status, reason, exit_status = "interrupted", str(stop), stop.exit_status
        print(f"error: {reason}", file=sys.stderr, flush=True)
        self.on_hang(status, reason)
        os._exit(exit_status)


def report_error(run: RunDirectory, status: str, reason: str) -> None:
    """Write why this rank, which is not rank 0, has ended, so that rank 0 can read it."""
    assert not is_rank_zero()
    rank = getattr(rank_zero_only, "rank", "?")
    run.path.mkdir(parents=True, exist_ok=True)
    replace_text(run.path / _FILE.format(rank), json.dumps([status, f"rank {rank}: {reason}"]))


def clear_errors(run: RunDirectory) -> None:
    """Delete the errors that ranks of an earlier attempt have written to the run's directory."""
    for file in run.path.glob(_FILE.format("*")):
        file.unlink(missing_ok=True)
