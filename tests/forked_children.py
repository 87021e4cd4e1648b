"""What a forked script starts with `subprocess`, submitit or joblib is a fork, too, if it is a Python script or module.

Linux makes an orphan the child of its nearest ancestor that asks for orphans. So a forked process begins with a fork
of itself, the nursery, which imports nothing and changes nothing. To start a child, the process asks for orphans, and
the nursery forks a process that forks another one and ends. That one is then a child of the process, with the state of
an interpreter that has only imported the libraries, and takes over streams, variables and signal mask as `exec` would.

New interpreters are started all the same by tests/test_package.py (launcher `process`, ranks of DDP), by the launcher
`joblib` in tests/launchers/test_sweep.py, and by submitit with tests/slurm.py.
"""

import _posixsubprocess
import ctypes
import fcntl
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

FRESH = "TESTS_FRESH_CHILDREN"  # environment variable: start children as new interpreters
_exec = _posixsubprocess.fork_exec
_DEATH_SIGNAL, _ORPHANS = 1, 36  # PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of Linux's prctl
_HIGH = 500  # file descriptors from here on are free: a child keeps the numbers of those that it is passed
_HEAD = struct.Struct("q")


def fork_children(become: Callable[[list[str], str, dict[str, str]], NoReturn]) -> None:
    """Start the nursery, and let the processes that this one starts be its forks.

    Args:
        become: runs words of a command line after the interpreter, in a directory, with environment variables.
    """
    if sys.platform != "linux" or FRESH in os.environ:
        return
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _nurse(theirs, os.getppid(), become)
    theirs.close()
    lock, owner = threading.Lock(), os.getpid()

    def start(*arguments: Any) -> int:
        words = [os.fsdecode(word) for word in arguments[0]]
        if os.getpid() != owner or not _is_forked(words, arguments):
            return _exec(*arguments)
        with lock:
            return _ask(ours, words, arguments)

    _posixsubprocess.fork_exec = subprocess._fork_exec = start
    subprocess._USE_POSIX_SPAWN = False  # else Python 3.13 starts some children by another function


def _is_forked(words: list[str], arguments: Sequence[Any]) -> bool:
    """Whether it is `python [-u] script` or `python [-u] -m module`; identities and umask are not taken over."""
    rest = [word for word in words[1:3] if word != "-u"]
    return (
        words[0] == sys.executable
        and bool(rest)
        and (rest[0] == "-m" or not rest[0].startswith("-"))
        and arguments[21] is None  # preexec_fn
        and arguments[17:19] == (None, None)  # gid, groups
    )


def _ask(nursery: socket.socket, words: list[str], arguments: Sequence[Any]) -> int:
    """Have the nursery start a child; the positions are those of `_posixsubprocess.fork_exec`."""
    keep, cwd, env = arguments[3:6]
    streams = [given if given >= 0 else number for number, given in enumerate((arguments[6], *arguments[9:12:2]))]
    keep = [number for number in keep if number not in (0, 1, 2, arguments[13])]  # the last: where exec's error goes
    entries = [os.fsdecode(entry).split("=", 1) for entry in env] if env is not None else os.environ.items()
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN]
    request = {
        "words": words[1:],
        "cwd": os.path.join(os.getcwd(), os.fsdecode(cwd or "")),
        "variables": dict(entries),
        "numbers": [0, 1, 2, *keep],
        "session": arguments[15],
        "group": arguments[16],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "ignored": ignored,
        "memory": resource.getrlimit(resource.RLIMIT_DATA),
        "parent": os.getpid(),
    }
    data = pickle.dumps(request)
    _prctl(_ORPHANS, 1)
    try:
        socket.send_fds(nursery, [_HEAD.pack(len(data))], [*streams, *keep])
        nursery.sendall(data)
        return _HEAD.unpack(nursery.recv(_HEAD.size, socket.MSG_WAITALL))[0]
    finally:
        _prctl(_ORPHANS, 0)


def _nurse(asked: socket.socket, parent: int, become: Callable[[list[str], str, dict[str, str]], NoReturn]) -> NoReturn:
    _prctl(_DEATH_SIGNAL, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    high = socket.socket(fileno=fcntl.fcntl(asked.detach(), fcntl.F_DUPFD_CLOEXEC, _HIGH))
    while os.getppid() == parent:
        head, files, *_ = socket.recv_fds(high, _HEAD.size, 64)
        if not head:
            break
        data = high.recv(_HEAD.unpack(head)[0], socket.MSG_WAITALL)
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child:
                os.write(writing, _HEAD.pack(child))
                os._exit(0)
            for number in (reading, writing, high.detach()):
                os.close(number)
            try:
                _grow(pickle.loads(data), files, become)
            finally:
                traceback.print_exc()
                os._exit(1)
        os.waitpid(between, 0)  # from now on the child is an orphan, and has been adopted
        high.sendall(os.read(reading, _HEAD.size))
        for number in (reading, writing, *files):
            os.close(number)
    os._exit(0)


def _grow(request: dict[str, Any], files: Sequence[int], become: Callable[..., NoReturn]) -> NoReturn:
    """Take over from the parent what `exec` would, and run the command."""
    _prctl(_DEATH_SIGNAL, 0)
    while os.getppid() != request["parent"]:
        time.sleep(0.001)
    for number in {*signal.valid_signals()} - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else signal.SIG_DFL)
    if signal.SIGINT not in request["ignored"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["mask"])
    resource.setrlimit(resource.RLIMIT_DATA, request["memory"])
    if request["session"]:
        os.setsid()
    if request["group"] >= 0:
        os.setpgid(0, request["group"])
    high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _HIGH) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(high, request["numbers"], strict=True):
        os.dup2(file, number)
        os.close(file)
    become(request["words"], request["cwd"], request["variables"])


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
