"""Output into a pipe whose reader has ended, such as `head` or a pager: it is discarded, and the work goes on."""

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

UNREAD = 141  # 128 + SIGPIPE: the exit status by which shells know programs that lost their reader
NAMES = ("stdout", "stderr")


class PipeOutput(io.FileIO):
    """The writing end of a pipe. Once its reader has ended, its file descriptor leads to the null device.

    The descriptor is redirected, rather than the stream, so that child processes get no error either.

    Args:
        descriptor: the number of the file descriptor, which stays open.

    Attributes:
        unread: whether the reader ended before all output was written.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.unread = False

    def write(self, data: Any) -> int:
        """Write bytes, or discard them; return how many."""
        try:
            return super().write(data) or 0  # None if a pipe that does not block is full
        except BrokenPipeError:
            self.unread = True
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return memoryview(data).nbytes


@contextmanager
def discarding_unread_output() -> Iterator[list[PipeOutput]]:
    """Let no write to `sys.stdout` and `sys.stderr` in the block fail because the reader of a pipe has ended.

    Yields:
        The pipes among the two; empty if both are terminals or files, or an outer block watches them already.
    """
    before = {name: stream for name in NAMES if _is_pipe(stream := getattr(sys, name))}
    pipes = []
    for name, stream in before.items():
        pipes.append(pipe := PipeOutput(stream.fileno()))
        setattr(sys, name, _text_stream(pipe, stream))
    try:
        yield pipes
    finally:
        for name, stream in before.items():
            getattr(sys, name).flush()
            setattr(sys, name, stream)


def _is_pipe(stream: Any) -> bool:
    """Return whether a stream of text writes to a pipe or socket, without a `PipeOutput`."""
    binary = getattr(stream, "buffer", None)
    raw = getattr(binary, "raw", binary)
    if type(raw) is not io.FileIO:  # None if the stream is closed; a test may have put something else in its place
        return False
    mode = os.fstat(raw.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _text_stream(pipe: PipeOutput, like: Any) -> io.TextIOWrapper:
    binary: Any = pipe if like.write_through else io.BufferedWriter(pipe)  # as Python has it with and without -u
    return io.TextIOWrapper(
        binary,
        encoding=like.encoding,
        errors=like.errors,
        line_buffering=like.line_buffering,
        write_through=like.write_through,
    )
