"""Output whose reader has ended, as after `| head`, is discarded; the command does its work and ends without a word."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from start_training.config.errors import run
from start_training.files.closed_pipe import NAMES, UNREAD, discarding_unread_output
from tests.small_runs import SMALL

TINY = (*SMALL, "hydra.sweep.dir=sweep", "hydra.run.dir=run")


@pytest.fixture(params=[-1, 0], ids=["buffered", "unbuffered"])
def unread(request, monkeypatch):
    """Replace both standard streams by pipes without a reader, buffered as Python has them without and with -u.

    A function, since pytest puts its own streams in place after the fixtures.
    """
    streams = []

    def replace():
        for name in NAMES:
            reader, writer = os.pipe()
            os.close(reader)
            binary = os.fdopen(writer, "wb", buffering=request.param)
            streams.append(io.TextIOWrapper(binary, write_through=request.param == 0))
            monkeypatch.setattr(sys, name, streams[-1])
        return streams

    yield replace
    monkeypatch.undo()
    for stream in streams:
        stream.close()


def test_without_the_block_a_print_fails(unread):
    streams = unread()
    with pytest.raises(BrokenPipeError):
        print("text", flush=True)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, streams[0].fileno())  # its buffer can now be flushed
    os.close(null)


def test_all_output_is_discarded_also_that_of_child_processes(unread):
    streams = unread()
    with discarding_unread_output() as pipes, discarding_unread_output() as nested:
        for stream in (sys.stdout, sys.stderr):
            print("text", file=stream, flush=True)
            print("é" * 100_000, file=stream)  # more than any buffer
    assert [pipe.unread for pipe in pipes] == [True, True] and nested == []
    assert [sys.stdout, sys.stderr] == streams
    for stream in streams:
        assert os.write(stream.fileno(), b"by a child process") == 18


@pytest.mark.parametrize("status, expected", [(0, UNREAD), (None, UNREAD), (3, 3), (1, 1)])
def test_only_success_gets_the_status_of_unread_output(unread, status, expected):
    unread()

    def command():
        print("text")
        if status is not None:
            sys.exit(status)

    with pytest.raises(SystemExit) as end:
        run(command)
    assert end.value.code == expected


def test_in_a_process_that_a_command_started_it_stays_a_success(unread, monkeypatch):
    """A launcher takes any other status for a failed job."""
    in_command: dict[str, str] = {}
    run(lambda: in_command.update(os.environ))
    for name in in_command.keys() - os.environ.keys():
        monkeypatch.setenv(name, in_command[name])
    [stream, _] = unread()
    run(lambda: print("text"))
    assert os.write(stream.fileno(), b"discarded") == 9


def test_output_that_is_read_is_whole_and_a_file_stays_as_it_is(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        run(lambda: print("first\nsecond"))
    with os.fdopen(reader) as stream:
        assert stream.read() == "first\nsecond\n"
    before = sys.stdout
    with discarding_unread_output() as pipes:
        assert (sys.stdout, pipes) == (before, [])


def without_reader(*words: str, cwd: Path, both: bool = True) -> tuple[int, str]:
    """Call a command whose reader has ended: its status, and what it prints on stderr unless that is unread, too."""
    reader, writer = os.pipe()
    os.close(reader)
    stderr = writer if both else subprocess.PIPE
    line = [sys.executable, "-m", "start_training.cli", *words]
    process = subprocess.run(line, cwd=cwd, stdout=writer, stderr=stderr)
    os.close(writer)
    return process.returncode, (process.stderr or b"").decode()


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["--help"], ["train", "--help"], ["reproduce", "--help"], ["--version"], ["reproduce"], ["train", "--cfg", "job"],
], ids=" ".join)  # fmt: skip
def test_a_command_that_prints_ends_as_coreutils_do(words, tmp_path):
    assert without_reader(*words, cwd=tmp_path, both=False) == (UNREAD, "")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["process", "joblib"])
def test_a_sweep_whose_reader_ends_is_trained_to_its_end(launcher, tmp_path):
    words = ("train", "-m", *TINY, f"hydra/launcher={launcher}", "seed=0")
    assert without_reader(*words, cwd=tmp_path)[0] == UNREAD
    [summary] = tmp_path.glob("sweep/*/summary.json")
    assert json.loads(summary.read_text())["status"] == "completed"


@pytest.mark.slow
def test_a_run_whose_reader_ends_is_trained_to_its_end(tmp_path):
    assert without_reader("train", *TINY, "trainer.enable_progress_bar=true", cwd=tmp_path)[0] == UNREAD
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "completed"
