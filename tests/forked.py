"""Scripts in processes of their own that start in milliseconds: forks of a server that has the libraries imported.

A fresh interpreter takes 4 s to import Lightning. What a script starts itself is a fork, too, unless its environment
has the variable FRESH (tests/forked_children.py).
"""

import atexit
import gc
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing import connection, get_context, util
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NoReturn

from tests.forked_children import FRESH, fork_children

ROOT = Path(__file__).parents[1]
PRELOADED = ("pytorch_lightning", "torchvision", "torchmetrics", "pandas", "pyarrow.parquet", "matplotlib.pyplot",
             "wandb", "scipy.stats", "sklearn.datasets", "rich.progress", "hydra.main",
             "start_training.cli.training_job", "start_training.launchers.process_launcher",
             "start_training.launchers.sweep", "start_training.launchers.replicas_launcher",
             "start_training.figures.lengths")  # fmt: skip
UNDRAWN = "TESTS_WITHOUT_RUN_FIGURES"  # environment variable: runs get an empty figure, which takes less time to draw
# `Process.start` polls all earlier processes. Two threads that poll one process read its exit status twice, which gives
# the second one, and from then on both, 255.
_polling = threading.Lock()
_context = get_context("forkserver")
_context.set_forkserver_preload(list(PRELOADED))


class Forked:
    """A started script, used as a `subprocess.Popen` with text streams is."""

    def __init__(self, process: ForkServerProcess, args: list[str], streams: tuple[str, str]) -> None:
        self._process, self.args, self._streams = process, args, streams

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        with _polling:
            return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return Path(self._streams[0]).read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return Path(self._streams[1]).read_text(errors="replace")

    def wait(self, timeout: float | None = None) -> int:
        connection.wait([self._process.sentinel], timeout)
        status = self.returncode
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0, self.stdout, self.stderr)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end: all that it printed on stdout and on stderr. Raises TimeoutExpired."""
        self.wait(timeout)
        return self.stdout, self.stderr


def start(
    script: Path | str,
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    new_session: bool = False,
    together: bool = False,
) -> Forked:
    """Start `python script arguments`. env: all its variables (as here); together: stderr goes where stdout does."""
    folder = tempfile.mkdtemp(prefix="forked-")
    streams = (f"{folder}/stdout", f"{folder}/{'stdout' if together else 'stderr'}")
    for stream in streams:
        Path(stream).touch()
    words = [str(script), *arguments]
    variables = {**(os.environ if env is None else env)}
    process = _context.Process(target=_work, args=(words, str(cwd or Path.cwd()), variables, streams, new_session))
    with _polling:
        process.start()
    return Forked(process, words, streams)


def run(script: Path | str, *arguments: str, timeout: float = 240, **settings) -> subprocess.CompletedProcess[str]:
    """`start` and wait, as `subprocess.run(…, capture_output=True, text=True)` does."""
    process = start(script, *arguments, **settings)
    try:
        output, errors = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _work(words: list[str], cwd: str, variables: dict[str, str], streams: tuple[str, str], new_session: bool) -> None:
    # The server's temporary folders, W&B's for media among them, are not for the first script that ends to remove.
    atexit._clear()
    gc.freeze()  # the libraries' objects are then left out of each garbage collection
    if new_session:
        os.setsid()
    flags = os.O_WRONLY | os.O_APPEND
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, flags), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if FRESH not in variables:
        fork_children(_child)
    sys.exit(_run(words, cwd, variables))


def _child(words: list[str], cwd: str, variables: dict[str, str]) -> NoReturn:
    """What a script starts; Python imports a module sitecustomize first, and Lightning reads the rank once."""
    from lightning_fabric.utilities.rank_zero import _get_rank, rank_zero_only

    fork_children(_child)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(variables)
    rank_zero_only.rank = _get_rank() or 0
    for folder in variables.get("PYTHONPATH", "").split(os.pathsep):
        if folder and Path(folder, "sitecustomize.py").exists():
            sys.path.insert(0, str(ROOT))
            runpy.run_path(str(Path(folder, "sitecustomize.py")))
    status = _run([word for word in words[:1] if word != "-u"] + words[1:], cwd, variables)
    util._exit_function()
    if isinstance(status, str):
        print(status, file=sys.stderr)
    os._exit(status if isinstance(status, int) else int(status is not None))


def _run(words: list[str], cwd: str, variables: dict[str, str]) -> object:
    """Run a script, or `-m` and a module, with its arguments; returns what it gave to `sys.exit`."""
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    if "OMP_NUM_THREADS" in variables:
        import torch

        torch.set_num_threads(int(variables["OMP_NUM_THREADS"]))
    if UNDRAWN in variables:
        from matplotlib.figure import Figure

        from start_training.reports import run_report

        run_report.figures = lambda *_: {"lengths": Figure(figsize=(0.1, 0.1))}
    is_module = words[0] == "-m"
    sys.argv = words[is_module:]
    folder = os.getcwd() if is_module else str(Path(words[0]).resolve().parent)
    sys.path[:0] = [folder, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    status: object = 0
    try:
        if is_module:
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        # In an interpreter's order, which multiprocessing has not: it would first wait for joblib's idle workers.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush(), sys.stderr.flush()
    return status


def wait_until(condition, *processes: Forked | subprocess.Popen, timeout: float = 120) -> None:
    """Wait until it holds; fails where the processes have all ended before, or it takes too long."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert any(process.poll() is None for process in processes), [process.communicate() for process in processes]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
