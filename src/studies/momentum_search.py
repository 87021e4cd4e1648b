"""Cyclical momentum against the best constant ones, each with the largest rate that its own range tests allow."""

from collections.abc import Mapping, Sequence
from typing import Any

from start_training.settings import fraction, list_of
from start_training.studies.search import Finding, Search, best_option, in_words, usable
from start_training.studies.trials import Option


def search_momentum(search: Search, *, constant: Sequence[float], cyclical: Sequence[Sequence[float]]) -> Finding:
    """Full runs with each constant momentum and each pair (at the lowest rate, at the largest).

    A range test of a momentum itself is of no use: a rising one only shows divergence. That of the rate is made at
    the momentum which stands beside the largest rate, a pair's lower one. Of Adam, momentum is beta1.
    Source: Smith 2018 (arXiv:1803.09820), on momentum: 0.95 → 0.85 → 0.95; constant ones of 0.9 to 0.95 do best.
    Raises ValueError for a momentum outside [0, 1), or an optimizer without one.
    """
    list_of("constant", constant), list_of("cyclical", cyclical)
    options = [momentum_option("constant", [value], search.settings) for value in constant]
    pairs = [momentum_option("cyclical", pair, search.settings) for pair in cyclical]
    every = [*options, *pairs]
    for option in every:
        option.test(search.trials, search.seeds)
    for option in usable(every):
        option.train(search.trials, search.seeds)
    chosen, best_constant, best_pair = best_option(every), best_option(options), best_option(pairs)
    against = in_words("cyclical momentum", best_pair, [best_pair, best_constant])
    return Finding("momentum", every, chosen, [in_words("momentum", chosen, every), against])


def momentum_option(name: str, momentum: Sequence[float], config: Mapping[str, Any]) -> Option:
    """A constant momentum [m], or a cyclical one [at the lowest rate, at the largest rate]; `name`: the setting's.

    Raises ValueError for what is neither, and where the config's schedule or optimizer has no momentum.
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
