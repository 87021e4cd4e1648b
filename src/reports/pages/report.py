"""Write the HTML page of whatever a directory holds: a run or a sweep, once or again and again."""

import time
from collections.abc import Callable, Collection
from pathlib import Path

from start_training.config.errors import is_user_error, print_error
from start_training.reports.pages.page_file import packed, write_page
from start_training.reports.pages.run_section import run_section
from start_training.reports.pages.sweep_page import Kept, write_sweep_page
from start_training.reports.sweep_figure import mirror_figures, wandb_node
from start_training.runs.job import Job
from start_training.runs.sweep_jobs import NAME as JOBS

NAME = "report.html"


def write_report(
    directory: Path, output: Path | None = None, *, trust: Collection[str] = (), kept: Kept | None = None
) -> Path:
    """Write one self-contained HTML file about a run or a sweep, finished or not.

    Args:
        directory: A run directory, a directory in which `ActivationLengths` has recorded lengths, or that of a sweep.
        output: The file; None: report.html in `directory`.
        trust: Packages of the user that configs may name, such as those of their nets, for theory's prediction.
        kept: What an earlier call has read of the finished jobs of a sweep, which is used again, and added to.

    Returns:
        The file written.

    Raises:
        ValueError: the directory holds neither a run nor a sweep.
    """
    path = output or directory / NAME
    if not directory.is_dir():
        raise ValueError(f"PATH = {directory}: no such directory")
    if (directory / "config.yaml").is_file() or (directory / "lengths").is_dir():
        run = run_section(directory, path.parent, trust=trust)
        data = {"run": packed({"plots": run.plots, "linked": run.linked})}
        write_page(path, "run_page.html", data=data, run=run)
    elif (directory / JOBS).is_file() or any(directory.glob("*/config.yaml")):
        write_sweep_page(directory, path, trust=trust, kept={} if kept is None else kept)
    else:
        raise ValueError(
            f"PATH = {directory}: holds neither a run (config.yaml) nor a sweep ({JOBS} or */config.yaml); give a run "
            "directory or the hydra.sweep.dir of a multirun"
        )
    return path


def log_report(directory: Path, page: Path) -> None:
    """Send a page to W&B as an artifact, offline unless the variable WANDB_MODE says otherwise.

    Args:
        directory: The directory that the page is about, whose name is that of the W&B run.
        page: The HTML file.
    """
    name = directory.resolve().name
    job = Job({"logger": wandb_node()}, page.parent, overrides=(f"report of {name}",), sweep=name)
    mirror_figures(job, {}, {}, page=page)


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
