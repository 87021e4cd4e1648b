"""Search for a weight decay: range tests over a coarse grid, bisection of its exponent, full runs of the best ones."""

from collections.abc import Sequence
from typing import Annotated

from start_training.schedules.weight_decay import next_weight_decay
from start_training.settings import PositiveInteger, WholeNumber, checked, list_of, number_from_zero
from start_training.studies.search import Search, SearchFinding, best_option, comparison, plus_minus, usable
from start_training.studies.trials import Option


def weight_decay_grid(name: str, values: Sequence[float]) -> list[float]:
    """Constraint for weight decays to bisect: at least two different ones, none below 0. Returns them sorted."""
    decays = sorted({number_from_zero(name, value) for value in list_of(name, values)})
    if len(decays) < 2:
        raise ValueError(f"{name} = {list(values)}: must hold at least two different weight decays")
    return decays


@checked
def search_weight_decay(
    search: Search, *, values: Annotated[Sequence[float], weight_decay_grid], rounds: WholeNumber, best: PositiveInteger
) -> SearchFinding:
    """Compare weight decays by range tests, train the best ones in full, and choose one.

    Range tests are made for a grid of weight decays, and then for values between the best one and its better
    neighbour. The weight decays whose range tests have the lowest validation loss, mean over seeds, are trained in
    full at the largest learning rate of their range tests. The lowest final validation loss decides.
    Source: Smith 2018 (arXiv:1803.09820), on weight decay: 1e-3, 1e-4, 1e-5, 0 for a complex net, 1e-2, 1e-3, 1e-4
    for a shallow one, then 3e-4 between 1e-4 and 1e-3.

    Args:
        search: Trains the runs of the search.
        values: The grid of weight decays.
        rounds: Number of weight decays that bisection adds.
        best: Number of weight decays that are trained in full.

    Returns:
        All weight decays with their range tests and runs, and the chosen one.
    """
    tests = {value: _option(value).test(search.trials, search.seeds) for value in values}
    for _ in range(rounds):
        value = next_weight_decay({value: option.lowest_loss for value, option in tests.items()})
        tests[value] = _option(value).test(search.trials, search.seeds)
    options = [tests[value] for value in sorted(tests)]
    leaders = sorted(usable(options), key=lambda option: option.lowest_loss)[:best]
    for option in sorted(leaders, key=options.index):
        option.train(search.trials, search.seeds)
    chosen = best_option(leaders)
    largest = max(usable(options), key=lambda option: option.max_lr)
    text = [
        comparison("weight decay", chosen, leaders),
        f"In range tests, weight decay {leaders[0].name} has the lowest validation loss "
        f"({plus_minus(*leaders[0].lowest_losses)}) and weight decay {largest.name} allows the largest learning rate "
        f"({largest.max_lr:.2g}).",
        *at_the_edge(chosen, options),
    ]
    return SearchFinding("weight decay", options, chosen, text)


def at_the_edge(chosen: Option, options: Sequence[Option]) -> list[str]:
    """Return a sentence that says what to try next if the largest weight decay was chosen, which may be too small.

    Args:
        chosen: The chosen option.
        options: All options, by increasing weight decay.

    Example:
        >>> at_the_edge(_option(1e-3), [_option(0.0), _option(1e-3)])
        ["0.001 is the largest weight decay tried; larger ones: 'search.values=[0.01,0.003,0.001]'."]
        >>> at_the_edge(_option(0.0), [_option(0.0), _option(1e-3)])
        []
    """
    value = chosen.changes["optimizer.weight_decay"]
    if chosen.name != options[-1].name or not value:
        return []
    values = ",".join(f"{float(f'{times * value:.1g}'):g}" for times in (10, 3, 1))
    return [f"{chosen.name} is the largest weight decay tried; larger ones: 'search.values=[{values}]'."]


def _option(value: float) -> Option:
    return Option(f"{value:g}", {"optimizer.weight_decay": value})
