"""The search space of an Optuna sweep, in Hydra's syntax of sweeps: choice, range and interval."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import ceil
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep


def split_overrides(overrides: Sequence[Override]) -> tuple[dict[str, Override], list[str]]:
    """Split overrides into those that are searched, by key, and words that are the same for all jobs.

    Raises:
        ValueError: nothing is searched.
    """
    last = {override.get_key_element(): override for override in overrides}
    searched = {key: override for key, override in last.items() if override.is_sweep_override()}
    if not searched:
        raise ValueError(
            "hydra.sweeper.params = {}: nothing to search; must have ranges, as "
            "optimizer.lr='tag(log,interval(1e-4,1))' or model.depth='range(2,10)'"
        )
    fixed = [
        f"{key}={override.get_value_element_as_str()}" if not override.is_delete() else str(override.input_line)
        for key, override in last.items()
        if key not in searched
    ]
    return searched, fixed


def distributions_of(searched: Mapping[str, Override]) -> dict[str, Any]:
    """Return the Optuna distribution of each searched setting.

    - `choice(a, b)`, `a,b` and `glob(…)`: one of the values.
    - `range(1, 5)`: a whole number from 1 to 4; with numbers that are not whole, steps of the given size.
    - `interval(1e-4, 1)`: any number; `int(interval(1, 64))`: any whole number, both ends included.
    - `tag(log, …)`: equally likely on a logarithmic scale; only for intervals, and for ranges of whole numbers.

    Raises:
        ValueError: a range is empty, or a tag is not known.
    """
    return {key: _distribution(key, override) for key, override in searched.items()}


def words_of(params: Mapping[str, Any]) -> list[str]:
    """Return the overrides of sampled values.

    Example:
        >>> words_of({"optimizer.lr": 0.1, "model": "lenet"})
        ['optimizer.lr=0.1', 'model=lenet']
    """
    return [f"{key}={value}" for key, value in params.items()]


def _distribution(key: str, override: Override) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value, text = override.value(), override.get_value_string()
    tags = set(getattr(value, "tags", ()))
    if unknown := tags - {"log"}:
        raise ValueError(f"{key} = {text}: the tag {min(unknown)} is not known; must be log")
    try:
        if isinstance(value, IntervalSweep):
            assert value.start is not None and value.end is not None
            if isinstance(value.start, int) and isinstance(value.end, int):
                return IntDistribution(value.start, value.end, log="log" in tags)
            return FloatDistribution(value.start, value.end, log="log" in tags)
        if isinstance(value, RangeSweep):
            assert value.start is not None and value.stop is not None
            numbers = list(value.range())
            if not numbers:
                raise ValueError("it is empty")
            if all(isinstance(number, int) for number in numbers):
                return IntDistribution(min(numbers), max(numbers), step=abs(int(value.step)), log="log" in tags)
            if "log" in tags:
                raise ValueError("a logarithmic scale needs interval(low,high)")
            low, stop, step = (Decimal(str(number)) for number in (value.start, value.stop, value.step))
            last = low + step * (ceil((stop - low) / step) - 1)
            return FloatDistribution(float(min(low, last)), float(max(low, last)), step=float(abs(step)))
        if tags:
            raise ValueError("a logarithmic scale needs interval(low,high)")
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except ValueError as error:
        raise ValueError(f"{key} = {text}: cannot be searched ({error})") from error
