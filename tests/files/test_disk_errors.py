"""The error of a disk is found behind what libraries raise, and named with its file and device."""

import errno
import os

import pytest

from start_training.config.errors import error_message
from start_training.files.disk_errors import CODES, DiskError, disk_error
from start_training.files.replaced_file import replaced
from start_training.files.reserved_space import NAME, SIZE
from start_training.runs.directory import RunDirectory


@pytest.mark.parametrize("code", sorted(CODES), ids=errno.errorcode.get)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_writer_names_its_file_whatever_a_library_raises(tmp_path, code, wrapped):
    def write():
        try:
            raise OSError(code, os.strerror(code))
        finally:
            if wrapped:  # torch raises such an error while it closes a file that it could not write
                raise RuntimeError("unexpected pos 4224 vs 4118")

    path = tmp_path / "table.csv"
    path.write_text("earlier")
    with pytest.raises(DiskError) as raised, replaced(path):
        write()
    assert error_message(raised.value).startswith(f"{path}: {os.strerror(code)} (device ")
    assert " mounted at " in str(raised.value)
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "earlier"


def test_an_error_of_another_kind_is_passed_on(tmp_path):
    assert disk_error(PermissionError(errno.EACCES, "Permission denied", "a"), tmp_path) is None
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "a"):
        _ = 1 / 0


def test_space_is_reserved_until_the_summary_is_written(config, tmp_path):
    run = RunDirectory(tmp_path)
    run.begin(config())
    assert (tmp_path / NAME).stat().st_size == SIZE
    run.write_summary({"status": "completed"})
    assert not (tmp_path / NAME).exists()
    run.release()


def test_a_disk_full_from_the_start_changes_no_file_of_an_earlier_run(config, tmp_path, monkeypatch):
    run = RunDirectory(tmp_path)
    run.begin(config())
    run.write_summary({"status": "failed", "steps": 0})
    run.release()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    again = RunDirectory(tmp_path)
    with pytest.raises(DiskError, match=r"\.reserve: No space left"):
        again.begin(config())
    again.release()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
