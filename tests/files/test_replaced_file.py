"""Files that are replaced, and checkpoints: an error while writing leaves the earlier one, and damage is noticed."""

import errno
import random
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from start_training.files.replaced_file import replaced
from start_training.runs.checkpoint import load_checkpoint, load_newest
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.train import train
from tests.same_run import assert_same_run
from tests.signalling import interrupted

OTHER_DISK = Path("/dev/shm")


@pytest.fixture(params=["beside", "other"])
def folder(request, tmp_path):
    """A folder on the file system of TMPDIR, and one on another."""
    if request.param == "beside":
        yield tmp_path
        return
    if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system in memory here")
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as path:
        yield Path(path)


def test_a_file_is_replaced_whole_or_not_at_all(folder):
    path, kept = folder / "notes.txt", folder / "earlier.txt"
    for text in ("one", "two"):
        with replaced(path, keep=kept) as partial:
            partial.write_text(text)
    assert (path.read_text(), kept.read_text()) == ("two", "one")
    with pytest.raises(OSError, match="No space left"), replaced(path, keep=kept) as partial:
        partial.write_text("thr")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"notes.txt": "two", "earlier.txt": "one"}


def test_no_earlier_checkpoint_is_touched_while_a_new_one_is_written(folder, config, monkeypatch):
    """Lightning's way writes to TMPDIR, and moves the file; a disk that fills up while it copies must cost nothing."""
    settings, run = config(), RunDirectory(folder / "run")
    interrupted(settings, run.path, 12)
    whole = run.checkpoint.read_bytes()

    def full(source, target, *_):
        Path(target).write_bytes(Path(source).read_bytes()[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(shutil, "move", full)
        train(Job(settings, run.path, sweep="a-sweep"))
    assert run.checkpoint.read_bytes() == whole


def test_every_inverted_byte_of_a_checkpoint_is_noticed_or_changes_nothing(tmp_path, config):
    run = RunDirectory(tmp_path / "run")
    interrupted(config(), run.path, 4)
    whole, content = bytearray(run.checkpoint.read_bytes()), load_checkpoint(run.checkpoint)
    noticed, draw = 0, random.Random(0)
    for place in draw.sample(range(len(whole)), 200):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        run.checkpoint.write_bytes(damaged)
        try:
            loaded = load_checkpoint(run.checkpoint)
        except ValueError:
            noticed += 1
        else:
            assert _equal(loaded, content)
    assert noticed > 100


def _equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


@pytest.mark.parametrize("damaged", [["last.ckpt"], ["last.ckpt", "previous.ckpt"]])
def test_a_job_with_a_damaged_checkpoint_resumes_from_the_one_before_or_begins_anew(
    trained, config, tmp_path, capsys, damaged
):
    settings, run = config(), RunDirectory(tmp_path / "run")
    interrupted(settings, run.path, 25)  # in the third epoch of 11 steps each
    for name in damaged:
        file = run.checkpoint.with_name(name)
        file.write_bytes(file.read_bytes()[:-4000])
    capsys.readouterr()
    newest = load_newest(run)
    assert (newest and (newest[0].name, newest[1]["global_step"])) == (None if damaged[1:] else ("previous.ckpt", 22))
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition("; ")[2] for line in said] == ["resuming from previous.ckpt", "beginning anew"][: len(said)]
    assert len(said) == len(damaged)
    train(Job(settings, run.path, sweep="a-sweep"))
    assert_same_run(trained(), run.path)
