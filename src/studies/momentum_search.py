"""Cyclical momentum against the best constant ones, each with the largest rate that its own range tests allow."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from start_training.settings import checked, fraction, list_of
from start_training.studies.search import Finding, Search, best_option, in_words, usable
from start_training.studies.trials import Option


@checked
def search_momentum(
    search: Search,
    *,
    constant: Annotated[Sequence[float], list_of],
    cyclical: Annotated[Sequence[Sequence[float]], list_of],
) -> Finding:
    """Full runs with each constant momentum and each cyclical one.

    A range test of momentum itself only shows divergence. The range test of the rate is made at the momentum that a
    run has at its largest rate: the lower one of a pair. For Adam, momentum is beta1.
    Source: Smith 2018 (arXiv:1803.09820), on momentum: 0.95 → 0.85 → 0.95; constant ones of 0.9 to 0.95 do best.

    Args:
        search: What makes the runs.
        constant: Momenta.
        cyclical: Pairs (at the lowest rate, at the largest).

    Raises:
        ValueError: A momentum is outside [0, 1), or the optimizer has none.
    """
    options = [momentum_option("constant", [value], search.config) for value in constant]
    pairs = [momentum_option("cyclical", pair, search.config) for pair in cyclical]
    every = [*options, *pairs]
    for option in every:
        option.test(search.trials, search.seeds)
    for option in usable(every):
        option.train(search.trials, search.seeds)
    chosen, best_constant, best_pair = best_option(every), best_option(options), best_option(pairs)
    against = in_words("cyclical momentum", best_pair, [best_pair, best_constant])
    return Finding("momentum", every, chosen, [in_words("momentum", chosen, every), against])


def momentum_option(name: str, momentum: Sequence[float], config: Mapping[str, Any]) -> Option:
    """The option of a constant momentum [m], or of a cyclical one [at the lowest rate, at the largest rate].

    Args:
        name: The setting, for messages.
        momentum: One number or two.
        config: The plain config of the runs, with `schedule` and `optimizer`.

    Raises:
        ValueError: `momentum` is neither, or the config's schedule or optimizer has no momentum.
    """
    if not isinstance(momentum, Sequence) or isinstance(momentum, str) or len(momentum) not in (1, 2):
        raise ValueError(f"{name} = {momentum!r}: must hold lists, [at the lowest rate, at the largest] or [constant]")
    values = [fraction(name, value) for value in momentum]
    if values[0] < values[-1]:
        raise ValueError(f"{name} = {list(momentum)}: must be no lower at the lowest rate, which comes first")
    if "momentum" not in (config["schedule"] or {}):
        raise ValueError("schedule.momentum = none: must be there to be chosen; one_cycle and triangular have it")
    constant = _constant(config["optimizer"], values[-1])
    return Option(
        "–".join(f"{value:g}" for value in values),
        constant,
        of_runs={"schedule.momentum": values if len(values) == 2 else None},
    )


def _constant(optimizer: Mapping[str, Any], momentum: float) -> dict[str, Any]:
    if "momentum" in optimizer:
        return {"optimizer.momentum": momentum}
    if "betas" in optimizer:
        return {"optimizer.betas": [momentum, *optimizer["betas"][1:]]}
    raise ValueError(f"optimizer = {optimizer.get('_target_')}: has neither momentum nor betas to search")
