"""A progress bar for a group of runs."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from start_training.ranks import in_terminals_worker
from start_training.replicas.group import ReplicaGroup


class GroupProgress:
    """A context with a bar of a group's epochs and of its runs that still train; it vanishes at the end.

    Args:
        shown: Whether the runs' settings ask for it. It also needs a terminal that only this process writes on.
    """

    def __init__(self, group: ReplicaGroup, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._shown = shown and console.is_terminal and not in_terminals_worker()
        self._runs, self._epochs = len(group.replicas), max(1, group.replicas[0].max_epochs or 1)
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=20), TextColumn("{task.fields[runs]}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("", total=self._epochs, completed=group.epoch, epoch=group.epoch + 1, runs="")
        group.progress = lambda group: self._show(group, epoch=group.epoch + 1)
        self._show(group, epoch=group.epoch)  # not kept: a cycle of references would keep its GPU memory

    def __enter__(self) -> "GroupProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Hide the bar until the end of the epoch, so that other lines can be printed."""
        if self._shown:
            self._bar.stop()

    def _show(self, group: ReplicaGroup, *, epoch: int) -> None:
        left = f"{len(group.replicas)} of {self._runs} runs"
        self._bar.update(self._task, completed=epoch, epoch=min(epoch + 1, self._epochs), runs=left)
        if self._shown and group.replicas:
            self._bar.start()
