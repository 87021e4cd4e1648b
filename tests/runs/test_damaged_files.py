"""A damaged file of a run is named, set aside when its run resumes, and costs no checkpoint."""

import os
import shutil

import pandas as pd
import pytest

from start_training.files.damaged_file import DamagedFile
from start_training.files.file_lock import open_lock
from start_training.files.replaced_file import replace_text, replaced
from start_training.runs.directory import RunDirectory
from start_training.runs.documents import read_job_list, read_summary
from start_training.runs.job import Job
from start_training.runs.metrics_file import read_metrics
from start_training.runs.sweep_jobs import add_jobs, read_jobs
from start_training.training.train import train
from tests.same_run import assert_same_run
from tests.signalling import interrupted


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """The config and directory of a run that was interrupted in its third epoch."""
    from tests.small_runs import composed

    path = tmp_path_factory.mktemp("cut") / "run"
    interrupted(composed(), path, 25)
    return composed(), path


@pytest.fixture
def run(cut, tmp_path):
    return RunDirectory(shutil.copytree(cut[1], tmp_path / "run"))


def part_of(run, table):
    return sorted((run.path / table).iterdir())[0]


def invert(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "object": lambda path: path.write_text("{}"),
    "list": lambda path: path.write_text("[]"),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "byte": lambda path: invert(path, path.stat().st_size // 2),
    "random": lambda path: path.write_bytes(bytes(range(200, 256)) * 9),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}
TEXTS = ('{"status": 5}', '{"status": "completed", "metrics": []}', '{"status": "completed", "metrics": {"a": "b"}}',
         '{"status": "completed", "overrides": [5]}', '{"status": "failed", "steps": "x"}', "[" * 100_000)  # fmt: skip


# Every second of the pairs is a slow test.
PAIRS = [pytest.param(name, damage, marks=[pytest.mark.slow] * ((row + column) % 2))
         for row, name in enumerate(["summary.json", "metrics.csv", "lengths", "steps", "checkpoints/last.ckpt"])
         for column, damage in enumerate(DAMAGE)]  # fmt: skip


@pytest.mark.parametrize(("name", "damage"), PAIRS)
def test_a_run_with_a_damaged_file_resumes_and_the_file_is_set_aside(cut, run, capsys, name, damage):
    file = part_of(run, name) if name in ("lengths", "steps") else run.path / name
    DAMAGE[damage](file)
    summary = train(Job(cut[0], run.path, sweep="a-sweep"))
    assert (summary["status"], summary["steps"]) == ("completed", 33)
    assert (run.path / f"{name.rpartition('/')[2]}.damaged").exists()
    lines = capsys.readouterr().err.splitlines()
    assert any(str(file) in line for line in lines) and any("set aside as" in line for line in lines)


def test_the_readable_rows_of_a_damaged_table_are_kept_and_a_second_one_gets_a_number(run, cut, trained):
    for name in ("lengths", "lengths.damaged"):
        (run.path / name).mkdir(exist_ok=True)
    (run.path / "lengths" / "notes.txt").write_text("a foreign file")
    train(Job(cut[0], run.path, sweep="a-sweep"))
    assert (run.path / "lengths.damaged-2" / "notes.txt").exists()
    assert_same_run(trained(), run.path)


def test_a_resume_into_another_directory_leaves_the_damaged_tables_as_they_are(run, cut, tmp_path, capsys):
    part = part_of(run, "lengths")
    part.write_bytes(b"PAR1")
    origin = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    summary = train(Job({**cut[0], "ckpt_path": str(run.checkpoint)}, tmp_path / "other"))
    assert summary["status"] == "completed" and str(part) in capsys.readouterr().err
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == origin


def test_a_damaged_summary_without_a_checkpoint_sets_everything_aside(run, cut):
    shutil.rmtree(run.checkpoint.parent)
    run.summary_file.write_text("{")
    assert (run.state, run.finished, run.resumable) == ("damaged", False, False)
    assert train(Job(cut[0], run.path, sweep="a-sweep"))["steps"] == 33
    names = {path.name for path in run.path.iterdir()}
    assert names >= {"lengths.damaged", "steps.damaged", "metrics.csv.damaged", "summary.json.damaged"}


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", *TEXTS])
def test_a_summary_of_another_form_is_damaged(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(DamagedFile, match=r"summary\.json: unreadable or damaged"):
        read_summary(tmp_path / "summary.json")


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"jobs": {}}', '{"jobs": [{"directory": 5, "overrides": []}]}'])
def test_a_damaged_list_of_jobs_is_named_and_set_aside_by_the_next_sweep(tmp_path, capsys, text):
    (tmp_path / "jobs.json").write_text(text)
    with pytest.raises(DamagedFile, match=r"jobs\.json: "):
        read_job_list(tmp_path / "jobs.json")
    add_jobs(tmp_path, {"a": ("seed=1",)})
    assert read_jobs(tmp_path) == {"a": ("seed=1",)}
    assert (tmp_path / "jobs.json.damaged").read_text() == text
    assert "jobs.json: set aside as jobs.json.damaged" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", "step\n1", "a\n1\n", "step\nx\n", "step,a\n1\n", "step\n1.5\n", "\0\n\xff"])
def test_a_damaged_metrics_file_is_named(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DamagedFile, match=r"metrics\.csv: unreadable or damaged"):
        read_metrics(tmp_path / "metrics.csv")


def test_a_foreign_file_in_a_table_is_named(run):
    foreign = {"x.parquet": b"text", "part-000000000099.parquet": None, "folder": None}
    for name, content in foreign.items():
        file = run.path / "steps" / name
        if name == "folder":
            file.mkdir()
        elif content is None:
            pd.DataFrame({"step": [99], "other": [1]}).to_parquet(file)
        else:
            file.write_bytes(content)
        with pytest.raises(DamagedFile, match=name):
            run.rows("steps")
        file.rmdir() if name == "folder" else file.unlink()
    assert run.rows("steps") is not None


def test_nothing_is_written_through_a_link(tmp_path, run):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for target in (victim, tmp_path / "absent"):
        for name in (".notes.txt.partial", ".lock"):
            link = tmp_path / name
            link.symlink_to(target)
            with pytest.raises(DamagedFile, match=rf"{name}: must"):
                replace_text(tmp_path / "notes.txt", "new") if "partial" in name else open_lock(link, create=True)
            assert link.is_symlink()
            link.unlink()
    (run.path / ".lock").unlink(missing_ok=True)
    (run.path / ".lock").symlink_to(victim)
    assert run.state == "damaged"
    with pytest.raises(DamagedFile, match=r"\.lock: must be a regular file"):
        run.claim(run.config())
    os.link(victim, tmp_path / ".hard.partial")  # a hard link is no symbolic link
    with replaced(tmp_path / "hard") as partial:
        partial.write_text("new")
    assert victim.read_text() == "precious" and not (tmp_path / "absent").exists()
