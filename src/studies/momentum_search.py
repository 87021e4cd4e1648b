"""Search for a momentum, cyclical or constant: train each at the largest learning rate its range tests allow."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from start_training.settings import checked, fraction, list_of
from start_training.studies.search import Search, SearchFinding, best_option, comparison, usable
from start_training.studies.trials import Option


@checked
def search_momentum(
    search: Search,
    *,
    constant: Annotated[Sequence[float], list_of],
    cyclical: Annotated[Sequence[Sequence[float]], list_of],
) -> SearchFinding:
    """Compare constant and cyclical momenta by full runs, and choose the one with the lowest validation loss.

    Each momentum is trained at the largest learning rate of its range tests. A range test of a cyclical momentum uses
    the momentum that belongs to the largest learning rate, the lower one of the pair. For Adam, momentum is beta1.
    Source: Smith 2018 (arXiv:1803.09820), on momentum: the cycle 0.95 → 0.85 → 0.95 is recommended, and the best
    constant values are 0.9 to 0.95; varying the momentum itself in a range test only shows when training diverges.

    Args:
        search: Trains the runs of the search.
        constant: Constant momenta.
        cyclical: Pairs [momentum at the lowest learning rate, momentum at the largest learning rate].

    Returns:
        All momenta with their runs, and the chosen one.

    Raises:
        ValueError: A momentum is outside [0, 1), or the schedule or the optimizer has no momentum.
    """
    options = [momentum_option("constant", [value], search.config) for value in constant]
    pairs = [momentum_option("cyclical", pair, search.config) for pair in cyclical]
    momenta = [*options, *pairs]
    for option in momenta:
        option.test(search.trials, search.seeds)
    for option in usable(momenta):
        option.train(search.trials, search.seeds)
    chosen, best_constant, best_pair = best_option(momenta), best_option(options), best_option(pairs)
    return SearchFinding(
        "momentum",
        momenta,
        chosen,
        [
            comparison("momentum", chosen, momenta),
            comparison("cyclical momentum", best_pair, [best_pair, best_constant]),
        ],
    )


def momentum_option(name: str, momentum: Sequence[float], config: Mapping[str, Any]) -> Option:
    """Return the search option for one constant or cyclical momentum.

    Args:
        name: Name of the setting, for error messages.
        momentum: [m] for a constant momentum m, or [at the lowest learning rate, at the largest learning rate].
        config: The plain config of the runs, with `schedule` and `optimizer`.

    Raises:
        ValueError: `momentum` does not hold one or two numbers in [0, 1), the second is larger than the first, or the
            schedule or the optimizer has no momentum.
    """
    if not isinstance(momentum, Sequence) or isinstance(momentum, str) or len(momentum) not in (1, 2):
        raise ValueError(
            f"{name} = {momentum!r}: each entry must be [constant momentum] or [momentum at the lowest learning rate, "
            "momentum at the largest]"
        )
    values = [fraction(name, value) for value in momentum]
    if values[0] < values[-1]:
        raise ValueError(
            f"{name} = {list(momentum)}: the first momentum, at the lowest learning rate, must not be below the second"
        )
    if "momentum" not in (config["schedule"] or {}):
        raise ValueError(
            "schedule.momentum = none: the schedule must have a momentum; choose schedule=one_cycle or triangular"
        )
    constant = _constant(config["optimizer"], values[-1])
    return Option(
        "–".join(f"{value:g}" for value in values),
        constant,
        run_changes={"schedule.momentum": values if len(values) == 2 else None},
    )


def _constant(optimizer: Mapping[str, Any], momentum: float) -> dict[str, Any]:
    if "momentum" in optimizer:
        return {"optimizer.momentum": momentum}
    if "betas" in optimizer:
        return {"optimizer.betas": [momentum, *optimizer["betas"][1:]]}
    raise ValueError(
        f"optimizer = {optimizer.get('_target_')}: must have momentum or betas; choose optimizer=sgd or adam"
    )
