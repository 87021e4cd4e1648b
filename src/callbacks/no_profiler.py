"""A profiler that does nothing, at a fifth of the cost of Lightning's `PassThroughProfiler`."""

from contextlib import nullcontext
from typing import Any

from pytorch_lightning.profilers import PassThroughProfiler

_NOTHING = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Disable profiling. All actions share one null context, since Lightning enters about forty at each step."""

    def profile(self, action_name: str) -> Any:
        return _NOTHING
