"""Search for a weight decay: range tests over a coarse grid, bisection of the exponent, full runs of the best."""

from collections.abc import Sequence
from typing import Annotated

from start_training.schedules.weight_decay import next_weight_decay
from start_training.settings import PositiveInteger, WholeNumber, checked, list_of, number_from_zero
from start_training.studies.search import Finding, Search, best_option, in_words, plus_minus, usable
from start_training.studies.trials import Option


def grid(name: str, values: Sequence[float]) -> list[float]:
    """The constraint of weight decays to bisect, which are returned in order: at least two, none below 0."""
    decays = sorted({number_from_zero(name, value) for value in list_of(name, values)})
    if len(decays) < 2:
        raise ValueError(f"{name} = {list(values)}: must be at least two weight decays, to look between")
    return decays


@checked
def search_weight_decay(
    search: Search, *, values: Annotated[Sequence[float], grid], rounds: WholeNumber, best: PositiveInteger
) -> Finding:
    """Range tests of a grid of weight decays, of some between the best and its better neighbour, and full runs.

    The lowest validation loss of the range tests, mean over seeds, decides which are trained in full; the last
    validation loss of the full runs, each at the largest rate of its range tests, decides which is chosen.
    Source: Smith 2018 (arXiv:1803.09820), on weight decay: 1e-3, 1e-4, 1e-5, 0 for a complex net, 1e-2, 1e-3, 1e-4
    for a shallow one, then 3e-4 between 1e-4 and 1e-3.

    Args:
        search: What makes the runs.
        values: The grid.
        rounds: Weight decays that bisection adds.
        best: Weight decays that are trained in full.
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
        in_words("weight decay", chosen, leaders),
        f"Of range tests the lowest validation loss has weight decay {leaders[0].name} "
        f"({plus_minus(*leaders[0].lowest_losses)}), the largest rate {largest.name} ({largest.max_lr:.2g}).",
    ]
    return Finding("weight decay", options, chosen, text)


def _option(value: float) -> Option:
    return Option(f"{value:g}", {"optimizer.weight_decay": value})
