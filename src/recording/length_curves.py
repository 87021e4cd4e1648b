"""Log activation lengths as curves with the loggers of a run, while it trains."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from start_training.lengths.growth_rate import first_nonfinite_layer, growth_rate
from start_training.recording.update_sizes import MeasuredUpdate
from start_training.runs.length_tables import MeasuredSteps

SHOWN = 32  # layers of deeper nets, besides the first and the last


class LengthCurves:
    """Logs some of the measured steps with any objects that have the method `log_metrics` of a Lightning logger.

    An object whose attribute `takes_curves` is False, as `MetricsFile`, is left out. The keys of a step are:

    - `lengths/<layer>`: the mean length of each layer, or of 34 layers if there are more than 32.
    - `growth_rate` (failure mode 1) and `layer_variance` (failure mode 2).
    - `first_nonfinite_layer`: −1 if all lengths are finite.
    - `updates/<parameter>`: ‖Δw‖ / ‖w‖ of each weight with two dimensions or more, or of 34 of them, if measured.

    If training steps have several forward passes, they are `lengths/<phase>/<layer>`, `growth_rate/<phase>`, ….

    Args:
        every_n_steps: Log at most one step out of so many.
        start: The step at which training starts or resumes.

    Example:
        >>> from start_training.lengths.statistics import Statistics
        >>> from start_training.runs.length_tables import StepRecord
        >>> class Prints:
        ...     def log_metrics(self, metrics, step):
        ...         print(step, list(metrics))
        >>> mean, across = np.array([[1.0, 2.0]]), np.array([0.0])
        >>> record = StepRecord(step=0, epoch=0, learning_rate=0.1, loss=2.3)
        >>> measured = MeasuredSteps(["input", "0"], [record], Statistics(mean, mean, mean, across, across))
        >>> LengthCurves(50, start=0).log([measured], [Prints()])
        0 ['lengths/input', 'lengths/0', 'growth_rate', 'layer_variance', 'first_nonfinite_layer']
    """

    def __init__(self, every_n_steps: int, *, start: int) -> None:
        self._period = every_n_steps
        self._last = (start - 1) // every_n_steps * every_n_steps  # a resumed run goes on as if it had not stopped

    def log(
        self,
        measured: Sequence[MeasuredSteps],
        loggers: Iterable[Any],
        *,
        phased: bool = False,
        updates: Sequence[MeasuredUpdate] = (),
    ) -> None:
        """Log steps at least a period apart, from steps that are later than those of the last call."""
        chosen: dict[int, dict[str, float]] = {}
        for step in sorted({record.step for one in measured for record in one.steps}):
            if step - self._last >= self._period:
                self._last, chosen[step] = step, {}
        for one in measured if chosen else ():
            for index, record in enumerate(one.steps):
                if record.step in chosen:
                    chosen[record.step] |= _curves(one, index, f"/{one.phase}" if phased else "")
        for update in updates:
            if update.step in chosen:
                chosen[update.step] = _update_curves(update) | chosen[update.step]
        for logger in loggers if chosen else ():
            if getattr(logger, "takes_curves", True):
                for step, values in chosen.items():
                    logger.log_metrics(dict(values), step)


def _curves(measured: MeasuredSteps, index: int, phase: str) -> dict[str, float]:
    """Return the values to log of one step."""
    mean = measured.statistics.mean[index]
    return {
        **{f"lengths{phase}/{measured.names[layer]}": float(mean[layer]) for layer in _shown(len(mean) - 1)},
        f"growth_rate{phase}": float(growth_rate(mean)),
        f"layer_variance{phase}": float(measured.statistics.layer_variance[index]),
        f"first_nonfinite_layer{phase}": float(first_nonfinite_layer(mean)),
    }


def _update_curves(update: MeasuredUpdate) -> dict[str, float]:
    """Return the relative updates to log of one optimizer step."""
    weights = np.flatnonzero(update.parameters["dimensions"] >= 2)
    names, relative = update.parameters["parameter"], update.relative
    return {f"updates/{names[weights[index]]}": float(relative[weights[index]]) for index in _shown(len(weights) - 1)}


def _shown(last: int) -> Iterable[int]:
    """Return which of 0 … `last` to log."""
    return range(last + 1) if last <= SHOWN else np.linspace(0, last, SHOWN + 2).round().astype(int)
