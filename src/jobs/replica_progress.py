"""A progress bar for a group of runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from src.jobs.workers import in_terminals_worker
from src.replicas.group import Group


@contextmanager
def group_progress(group: Group, *, shown: bool = True) -> Iterator[None]:
    """Which epoch the group is in and how many of its runs still train; it vanishes at the end."""
    console = Console(stderr=True)
    if not shown or in_terminals_worker() or not console.is_terminal:
        yield
        return
    runs, epochs = len(group.replicas), max(1, group.replicas[0].max_epochs or 1)
    columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=20), TextColumn("{task.fields[runs]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=epochs, completed=group.epoch, epoch=group.epoch + 1, runs=f"{runs} runs")

        def show(group: Group) -> None:
            left = f"{len(group.replicas)} of {runs} runs"
            bar.update(task, completed=group.epoch + 1, epoch=min(group.epoch + 2, epochs), runs=left)

        group.progress = show
        yield
