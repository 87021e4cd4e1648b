"""A progress bar for a group of runs."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from start_training.ranks import in_joblib_worker
from start_training.replicas.group import Group


class GroupProgress:
    """Which epoch a group is in and how many of its runs still train; as a context, which leaves nothing on the screen.

    shown: whether the runs' settings want one; it is shown on a terminal that this process has to itself.
    """

    def __init__(self, group: Group, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._shown = shown and console.is_terminal and not in_joblib_worker()
        self._runs, self._epochs = len(group.replicas), max(1, group.replicas[0].max_epochs or 1)
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=20), TextColumn("{task.fields[runs]}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("", total=self._epochs, completed=group.epoch, epoch=group.epoch + 1, runs="")
        group.progress = lambda group: self._show(group, epoch=group.epoch + 1)
        self._show(group, epoch=group.epoch)  # and not kept: what holds each other, and GPU memory, outlives its use

    def __enter__(self) -> "GroupProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Take it away, until the end of an epoch: what is printed would run into it."""
        if self._shown:
            self._bar.stop()

    def _show(self, group: Group, *, epoch: int) -> None:
        left = f"{len(group.replicas)} of {self._runs} runs"
        self._bar.update(self._task, completed=epoch, epoch=min(epoch + 1, self._epochs), runs=left)
        if self._shown and group.replicas:
            self._bar.start()
