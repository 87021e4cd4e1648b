"""Cyclical momentum against the best constant ones, each with the largest rate that its own range tests allow."""

from collections.abc import Mapping, Sequence
from typing import Any

from src.jobs.search import Finding, Search, best_option, in_words
from src.jobs.trials import Option
from src.settings import fraction


def search_momentum(search: Search, *, constant: Sequence[float], cyclical: Sequence[Sequence[float]]) -> Finding:
    """Full runs with each constant momentum and each pair (at the lowest rate, at the largest).

    A range test of a momentum itself is of no use: a rising one only shows divergence. That of the rate is made at
    the momentum which stands beside the largest rate, a pair's lower one. Of Adam, momentum is beta1.
    Source: Smith 2018 (arXiv:1803.09820), on momentum: 0.95 → 0.85 → 0.95; constant ones of 0.9 to 0.95 do best.
    Raises ValueError for a momentum outside [0, 1), or an optimizer without one.
    """
    options = [momentum_option(search.settings["optimizer"], [value]) for value in constant]
    pairs = [momentum_option(search.settings["optimizer"], pair) for pair in cyclical]
    if not options or not pairs:
        raise ValueError("constant = [] or cyclical = []: must be at least one momentum of each, to compare them")
    every = [*options, *pairs]
    for option in every:
        option.test(search.trials, search.seeds).train(search.trials, search.seeds)
    chosen, best_constant, best_pair = best_option(every), best_option(options), best_option(pairs)
    against = in_words("cyclical momentum", best_pair, [best_pair, best_constant])
    return Finding("momentum", every, chosen, [in_words("momentum", chosen, every), against])


def momentum_option(optimizer: Mapping[str, Any], momentum: Sequence[float]) -> Option:
    """A constant momentum [m], or a cyclical one [at the lowest rate, at the largest rate]."""
    momentum = [fraction("momentum", value) for value in momentum]
    if len(momentum) not in (1, 2):
        raise ValueError(f"cyclical = {list(momentum)}: must be pairs, at the lowest rate and at the largest")
    cycled = list(momentum) if len(momentum) == 2 else None
    name = "–".join(f"{value:g}" for value in momentum)
    constant = _constant(optimizer, momentum[-1])
    return Option(name, constant, of_runs={"schedule.momentum": cycled})


def _constant(optimizer: Mapping[str, Any], momentum: float) -> dict[str, Any]:
    if "momentum" in optimizer:
        return {"optimizer.momentum": momentum}
    if "betas" in optimizer:
        return {"optimizer.betas": [momentum, *optimizer["betas"][1:]]}
    raise ValueError(f"optimizer = {optimizer.get('_target_')}: has neither momentum nor betas to search")
