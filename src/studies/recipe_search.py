"""The search of the recipe: a range test, short runs of what is to be compared, and what it falls back to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from start_training.config.composed import CONF
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.schedules.budget import Budget
from start_training.settings import positive_integer
from start_training.studies.momentum_search import momentum_option
from start_training.studies.recipe_comparison import SHORT_SEEDS, Comparison, best, compared
from start_training.studies.recipe_rates import (
    ADAM,
    BELOW,
    RANGES,
    SGD,
    USUAL_RATES,
    WEIGHT_DECAYS,
    chosen_rate,
    family,
    lost_at,
    too_large,
    usual_of,
)
from start_training.studies.trials import Changes, Option, Trials

Config = Mapping[str, Any]
RANGE_TEST = "range_tests.range_test."
LEAST_SAMPLES, SAMPLES_PER_BATCH = 100, 2  # of the validation in a range test
ABOVE = 10**0.5  # factor between the largest weight decay and the next one to try, if the largest is best


class GroupChoice(dict[str, Any]):
    """The node of an option of a config group, written as the name of the option where an override is shown."""

    def __init__(self, name: str, node: Config) -> None:
        super().__init__(node)
        self.name = name

    def __str__(self) -> str:
        return self.name


@dataclass
class RecipeSearch:
    """What the search has made and decided so far.

    Args:
        trials: Trains the runs of the study.
        config: The plain config.
        seed: Seed of the search.
        budget: The budget; what is searched is subtracted from it.
        tested: The range tests, one for each optimizer.
        comparisons: What was compared by short runs.
        fallbacks: Why something known was used in place of what a test would have said.
        skipped: What the budget did not allow to compare.
        sick: Whether the net is not expected to start training with the config's optimizer.
        asked: The settings of range tests that were asked for, see `asked_of`.
    """

    trials: Trials
    config: Config
    seed: int
    budget: Budget
    tested: list[Option] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    fallbacks: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    sick: bool = False
    asked: Config = field(default_factory=dict)

    def optimizer(self, changes: Changes) -> Config:
        """Return the optimizer node of the config with these changes."""
        node = dict(changes.get("optimizer") or self.config["optimizer"])
        own = {key.removeprefix("optimizer."): value for key, value in changes.items()}
        return node | {key: value for key, value in own.items() if f"optimizer.{key}" in changes}

    def range_test(self, name: str, changes: Changes) -> Option:
        """Make a range test with these changes; the option gets its rate as `optimizer.lr`, or the known one."""
        optimizer = self.optimizer(changes)
        kind, option = family(optimizer), Option(name, dict(changes))
        first = None if self.asked.keys() & {"min_lr", "max_lr", "adaptive"} else RANGES.get(kind)
        if first:
            self._test(option, min_lr=first[0], max_lr=first[1], adaptive=False)
        lost = lost_at(option.tests[0].curves) if first else np.inf
        if not first or not (np.isfinite(option.max_lr) or (self.sick and kind == SGD)):
            self.budget = replace(self.budget, tests=self.budget.tests + len(option.tests))
            top = lost if np.isfinite(lost) else too_large(option.tests[0].curves) if first else np.inf
            below = {"min_lr": top / BELOW, "max_lr": top, "adaptive": False} if np.isfinite(top) else {}
            self._test(option, **below)
        self.tested.append(option)
        usual, fraction = usual_of(optimizer, self.budget.batch_size)
        newest = lost_at(option.tests[0].curves)
        lost = float(np.sqrt(lost * newest)) if np.isfinite([lost, newest]).all() else min(lost, newest)
        rate, why = chosen_rate(option.tests[0].suggestion, usual, fraction, lost)
        if why and kind == SGD and self.sick:
            adamw = optimizer_options(["adamw"], self.config)[0].changes
            self.fallbacks.append(f"{why}; AdamW at {USUAL_RATES[ADAM]:g} is used, which starts to train more nets")
            decay = {"optimizer.weight_decay": WEIGHT_DECAYS["AdamW"]}
            return Option(name, {**adamw, **decay, "optimizer.lr": USUAL_RATES[ADAM]})
        if why:
            known = "a usual rate" if rate == usual else f"a third of {lost:.2g}, where the loss rose"
            self.fallbacks.append(f"{why}; {rate:g} is used, {known}")
        return replace(option, tests=[], changes={**changes, "optimizer.lr": rate})

    def _test(self, option: Option, **rates: Any) -> None:
        budget = self.budget
        option.test(
            self.trials, [self.seed], steps=budget.steps_of_test, val_points=budget.points_of_test,
            val_samples=budget.val_samples, **rates,
        )  # fmt: skip

    def compare(
        self, what: str, options: Sequence[Option], more: Callable[[Option], Option | None] | None = None
    ) -> Option:
        """Compare candidates, the default first, by short runs, as far as the budget allows, and return the chosen one.

        Args:
            what: The setting in words.
            options: The candidates.
            more: Returns a further candidate for the best one, or None; None: there is none.
        """
        affordable = (self.budget.most_runs - self.budget.runs) // SHORT_SEEDS
        if affordable < 2:
            self.skipped.append(f"{what}: the budget is too small to compare it, {options[0].name} is kept")
            return options[0]
        if affordable < len(options):
            left_out = ", ".join(option.name for option in options[affordable:])
            self.skipped.append(f"{what}: the budget is too small to try {left_out}")
        tried = list(options[:affordable])
        for option in tried:
            self._train_short(option)
        further = more(best(tried)) if more and affordable > len(tried) else None
        if further is not None:
            self._train_short(further)
            tried.append(further)
        self.comparisons.append(compared(what, tried))
        return self.comparisons[-1].chosen

    def _train_short(self, option: Option) -> None:
        """Train short runs of an option, without a test pass, and count them."""
        option.run_changes = {**option.run_changes, "trainer.max_epochs": self.budget.epochs_of_run}
        short = replace(option, run_changes={**option.run_changes, "trainer.limit_test_batches": 0}, runs=[])
        short.train(self.trials, range(self.seed, self.seed + SHORT_SEEDS))
        option.runs, option.merit = short.runs, short.merit
        self.budget = replace(self.budget, runs=self.budget.runs + SHORT_SEEDS)


def optimizer_options(names: Sequence[str], config: Config) -> list[Option]:
    """Return an option for each optimizer of conf/optimizer; that of the config keeps its settings."""
    options = []
    for name in names:
        node: Any = OmegaConf.to_container(OmegaConf.load(CONF / "optimizer" / f"{name}.yaml"))
        same = node["_target_"] == config["optimizer"]["_target_"]
        options.append(Option(name, {} if same else {"optimizer": GroupChoice(name, node)}))
    return options


def weight_decay_options(values: Sequence[float], changes: Changes, default: float) -> list[Option]:
    """Return an option for each weight decay, the default first."""
    ordered = [default, *(value for value in values if value != default)]
    return [Option(f"{value:g}", {**changes, "optimizer.weight_decay": value}) for value in ordered]


def larger_weight_decay(options: Sequence[Option]) -> Callable[[Option], Option | None]:
    """Return a function that returns an option with a larger weight decay if the largest of `options` is best."""

    def more(leader: Option) -> Option | None:
        key = "optimizer.weight_decay"
        if leader.changes[key] < max(option.changes[key] for option in options) or not leader.changes[key]:
            return None
        value = float(f"{ABOVE * leader.changes[key]:.1g}")
        return Option(f"{value:g}", {**leader.changes, key: value})

    return more


def momentum_options(momenta: Sequence[Sequence[float]], changes: Changes, config: Config) -> list[Option]:
    """Return an option for each momentum, constant or cyclical."""
    options = [momentum_option("momenta", momentum, config) for momentum in momenta]
    return [replace(option, changes={**changes, **option.changes}) for option in options]


def asked_of(config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings of range tests that were typed, or differ from those of conf/callbacks/range_test.yaml."""
    given, default = config["range_tests"]["range_test"], OmegaConf.load(CONF / "callbacks/range_test.yaml").range_test
    typed = {word.lstrip("+").partition("=")[0] for word in overrides}
    return {key: value for key, value in given.items() if RANGE_TEST + key in typed or value != default.get(key)}


def budget_of(
    epochs: int, test_share: float, run_share: float, tests: int, config: Config, datamodule: Any, asked: Config
) -> Budget:
    """Return the budget of a config's data, which are prepared; `asked`: see `asked_of`.

    Raises:
        ValueError: a range test that was asked for does not fit.
    """
    accumulated = positive_integer("accumulate_grad_batches", config["trainer"].get("accumulate_grad_batches", 1))
    steps = -(-len(datamodule.train_dataloader()) // accumulated)
    batch = accumulated * (getattr(datamodule, "batch_size", None) or 1)
    samples = asked.get("val_samples", max(LEAST_SAMPLES, SAMPLES_PER_BATCH * batch))
    if isinstance(datamodule, TensorDataModule):
        samples = min(samples, datamodule.samples("validation").size)
    counts = {key: asked[key] for key in ("steps", "val_points") if key in asked}
    budget = Budget(epochs, steps, batch, samples, test_share, run_share, tests, asked=counts)
    if budget.points_of_test > budget.steps_of_test:
        raise ValueError(
            f"{RANGE_TEST}val_points = {counts['val_points']}: must be at most {budget.steps_of_test}, the steps of a "
            f"range test of this budget; or type {RANGE_TEST}steps=…"
        )
    if counts and tests * budget.epochs_of_test > epochs - 1:
        key, value = next(iter(counts.items()))
        cost = f"{tests * budget.epochs_of_test:.1f} of budget = {epochs} epochs"
        raise ValueError(f"{RANGE_TEST}{key} = {value}: a range test takes {cost}; must leave one at least")
    return budget
