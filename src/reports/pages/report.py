"""Write the HTML page of whatever a path holds: a run, a sweep, a study or a diagnosis, once or repeatedly."""

import time
from collections.abc import Callable, Collection
from pathlib import Path

from start_training.config.errors import is_user_error, print_error
from start_training.reports.pages.page_file import packed, write_page
from start_training.reports.pages.run_section import run_section
from start_training.reports.pages.study_section import RUNS, StudySection, diagnosis_section, is_study, study_section
from start_training.reports.pages.sweep_page import Kept, write_sweep_page
from start_training.reports.sweep_figure import mirror_figures, wandb_node
from start_training.runs.job import Job
from start_training.runs.sweep_jobs import NAME as JOBS

NAME = "report.html"


def write_report(
    directory: Path, output: Path | None = None, *, trust: Collection[str] = (), kept: Kept | None = None
) -> Path:
    """Write one self-contained HTML file about a run, a sweep, a study or a diagnosis, finished or not.

    Args:
        directory: A run directory, a directory in which `ActivationLengths` has recorded lengths, that of a sweep, of a
            search, a recipe or another study, or the JSON file of a diagnosis.
        output: The file; None: report.html in `directory`, or beside the file a page of its name.
        trust: Packages of the user that configs may name, such as those of their nets, for theory's prediction.
        kept: What an earlier call has read of the finished jobs of a sweep, which is used again, and added to.

    Returns:
        The file written.

    Raises:
        ValueError: the directory holds none of these.
    """
    path = output or (directory.with_suffix(".html") if directory.is_file() else directory / NAME)
    kept = {} if kept is None else kept
    if directory.is_file():
        _write_study(path, diagnosis_section(directory, path.parent), "Diagnosis", directory.stem)
    elif not directory.is_dir():
        raise ValueError(f"PATH = {directory}: no such directory")
    elif is_study(directory):
        study = study_section(directory, path.parent)
        if any(directory.glob(f"{RUNS}/*/config.yaml")):
            write_sweep_page(directory / RUNS, path, trust=trust, kept=kept, study=study)
        else:
            _write_study(path, study, "Study", directory.resolve().name)
    elif (directory / "config.yaml").is_file() or (directory / "lengths").is_dir():
        run = run_section(directory, path.parent, trust=trust)
        data = {"run": packed({"plots": run.plots, "linked": run.linked})}
        write_page(path, "run_page.html", data=data, run=run)
    elif (directory / JOBS).is_file() or any(directory.glob("*/config.yaml")):
        write_sweep_page(directory, path, trust=trust, kept=kept)
    else:
        raise ValueError(
            f"PATH = {directory}: holds neither a run (config.yaml) nor a sweep ({JOBS} or */config.yaml); give a run "
            "directory, the hydra.sweep.dir of a multirun, or the file out=… of a diagnosis"
        )
    return path


def _write_study(path: Path, study: StudySection, heading: str, name: str) -> None:
    data = {"study": packed({"plots": study.plots, "linked": None})}
    write_page(path, "study_page.html", data=data, study=study, heading=heading, name=name)


def log_report(directory: Path, page: Path) -> None:
    """Send a page to W&B as an artifact, offline unless the variable WANDB_MODE says otherwise.

    Args:
        directory: The directory that the page is about, which names the W&B run; its group is that of the runs shown.
        page: The HTML file.
    """
    path = directory.resolve()
    names, group = (f"report of {path.name}",), _group(path)
    job = Job({"logger": wandb_node()}, page.parent, overrides=names, sweep=group, command="report")
    mirror_figures(job, {}, {}, page=page)


def _group(path: Path) -> str | None:
    """Return the W&B group of the runs that a page shows: the sweep or study; None for a run on its own."""
    if path.is_dir() and not is_study(path) and (path / "config.yaml").is_file():
        if path.parent.name == RUNS and is_study(path.parents[1]):
            return path.parents[1].name
        return path.parent.name if (path.parent / JOBS).is_file() else None
    return path.name


def watch(
    directory: Path,
    seconds: float,
    output: Path | None = None,
    *,
    trust: Collection[str] = (),
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write the page again every few seconds, until the process is interrupted.

    An error, such as that of a file which a job is just writing, is printed, and does not end the watch.

    Args:
        directory: See `write_report`.
        seconds: Time from the end of one writing to the beginning of the next.
        output: See `write_report`.
        trust: See `write_report`.
        sleep: Waits for a number of seconds.
    """
    kept: Kept = {}
    while True:
        sleep(seconds)
        try:
            write_report(directory, output, trust=trust, kept=kept)
        except Exception as error:
            if not is_user_error(error):
                raise
            print_error(error)
