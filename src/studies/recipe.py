"""Smith's recipe in one go: range tests, weight decay, momentum, one cycle, within a budget, and its baselines."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from start_training.config.build import build_datamodule
from start_training.config.composed import check_depth
from start_training.figures.save import save_figure
from start_training.figures.trials import draw_trials
from start_training.reports import run_report
from start_training.reports.sweep_figure import mirror_figure
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.schedules.budget import Budget
from start_training.schedules.weight_decay import next_weight_decay
from start_training.settings import fraction, list_of, positive_integer, positive_number
from start_training.studies.momentum_search import momentum_option
from start_training.studies.recipe_report import Followed
from start_training.studies.search import balance, best_option, best_test, next_run, seeds_of, usable
from start_training.studies.study import study
from start_training.studies.trials import Option, Trials, curves_of, table_of
from start_training.studies.weight_decay_search import weight_decays

Config = Mapping[str, Any]
BEYOND = 6  # times a rate known roughly: twice as far as where it says that learning is lost


def recipe(job: Job, config: DictConfig) -> dict[str, Any]:
    """Follow the recipe, as far as an earlier call has not; returns the summary.

    A range test to find the rates in question; then linear ones over these, of all weight decays and of one more by
    bisection, at the momentum that stands beside the largest rate of the first of `momenta`; short runs of each
    momentum; a last run of one cycle with what was chosen. Validation loss decides. Baselines: fixed rates with the
    job's own optimizer, for the whole budget and for `times` as long.
    Source: Smith 2018 (arXiv:1803.09820). `config`: the job's before its interpolations were resolved.
    Directory: runs/, options.csv, curves.parquet, epochs.parquet, figures/recipe.png and .pdf, report.md, config.yaml
    and summary.json, written last. A signal leaves what has been trained, to go on from.
    Raises ValueError for a setting that cannot be used, or a directory that holds something else.
    """
    with study(job) as run:
        if run.finished:
            return run.summary() or {}
        began = time.monotonic()
        done = follow(Trials(config, run.path), job.config)
        overrides = next_run(job, done.last)
        text = done.report(overrides, balance(done.last, job.config))
        leave(job, run, done, text)
        summary = {
            "status": "completed",
            "overrides_of_last_run": overrides,
            "results": table_of([done.last, *done.baselines]).to_dict("records"),
            "text": text,
            "seconds": round(time.monotonic() - began, 3),  # of the last session
            **job.origin,
        }
        run.write_summary(summary)
    return summary


def follow(trials: Trials, config: Config) -> Followed:
    """Make all range tests and runs of the recipe."""
    momenta = [momentum_option("momenta", momentum, config) for momentum in list_of("momenta", config["momenta"])]
    values, rates = weight_decays("weight_decays", config["weight_decays"]), fixed_rates(config)
    if (steps := config["trainer"].get("max_steps", -1)) != -1:
        raise ValueError(f"trainer.max_steps = {steps}: would cut runs short; the budget is one of epochs")
    budget, seeds = budget_of(config, tests=len(values) + 1 + len(momenta), runs=len(momenta)), seeds_of(config)
    bench = Bench(trials, seeds[0], budget.steps_of_test)
    located = bench.test(Option("", momenta[0].changes))
    if np.isnan(around := located.max_lr):
        raise ValueError(f"budget = {config['budget']}: {located.tests[0].suggestion['rule']}")
    decays = choose_weight_decay(bench, values, momenta[0], around)
    decay = best_test(decays)
    for option in momenta:
        option.changes = {**decay.changes, **option.changes}
        option.of_runs = {**option.of_runs, "trainer.max_epochs": budget.epochs_of_run}
        bench.test(option, around)
    for option in usable(momenta):
        option.train(trials, seeds[:1])
    chosen = best_option(momenta)
    of_last = {**chosen.of_runs, "trainer.max_epochs": budget.last_run}
    last = replace(chosen, name="the recipe", of_runs=of_last, runs=[])
    rates = rates or [config["optimizer"]["lr"], last.max_lr / 3]
    baselines = at_fixed_rates(rates, (budget.epochs, budget.epochs * config["times"]))
    for option in (last, *baselines):
        option.train(trials, seeds)
    return Followed(budget, decays, momenta, last, baselines)


@dataclass(frozen=True)
class Bench:
    """Makes the recipe's range tests, all of the same length and of one seed."""

    trials: Trials
    seed: int
    steps: int

    def test(self, option: Option, around: float | None = None) -> Option:
        """Of the rates that the config names; or a linear one through those `around` a largest rate known roughly."""
        points = min(self.trials.config.range_tests.range_test.val_points, self.steps)
        rates = {"ramp": "linear", "min_lr": around / 10, "max_lr": BEYOND * around} if around else {}
        return option.test(self.trials, [self.seed], steps=self.steps, val_points=points, **rates)


def choose_weight_decay(bench: Bench, values: Sequence[float], momentum: Option, around: float) -> list[Option]:
    """Range tests of all values, and of one between the best and its better neighbour."""
    tests: dict[float, Option] = {}
    for _ in range(len(values) + 1):
        left = [value for value in values if value not in tests]
        value = left[0] if left else next_weight_decay({each: option.lowest_loss for each, option in tests.items()})
        option = Option(f"weight decay {value:g}", {"optimizer.weight_decay": value, **momentum.changes})
        tests[value] = bench.test(option, around)
    return [tests[value] for value in sorted(tests)]


def fixed_rates(config: Config) -> list[float]:
    """Those that the config names for the baselines, if it does. Raises ValueError for one that is none."""
    positive_integer("times", config["times"])
    named = config["baseline_lrs"]
    return [] if named is None else [positive_number("baseline_lrs", rate) for rate in list_of("baseline_lrs", named)]


def at_fixed_rates(rates: Sequence[float], epochs: Sequence[int]) -> list[Option]:
    """The baselines: each rate, for each number of epochs."""
    rounded = dict.fromkeys(float(f"{rate:.2g}") for rate in rates)
    return [
        Option(
            f"fixed rate {rate:g}, {count} epochs",
            {},
            of_runs={"schedule": None, "optimizer.lr": rate, "trainer.max_epochs": count},
        )
        for count in dict.fromkeys(epochs)
        for rate in rounded
    ]


def budget_of(config: Config, *, tests: int, runs: int) -> Budget:
    """The budget of a config whose recipe has so many range tests and short runs."""
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup("fit")
    batches = positive_integer("accumulate_grad_batches", config["trainer"].get("accumulate_grad_batches", 1))
    steps = -(-len(datamodule.train_dataloader()) // batches)
    shares = (fraction(name, positive_number(name, config[name])) for name in ("test_share", "run_share"))
    return Budget(positive_integer("budget", config["budget"]), steps, tests, runs, *shares)


def leave(job: Job, run: RunDirectory, done: Followed, text: str) -> None:
    """Tables, figure and report; W&B gets figure and table."""
    every = [*done.decays, *done.momenta, done.last, *done.baselines]
    table_of(every).to_csv(run.path / "options.csv", index=False)
    longest = [option for option in done.baselines if option.runs[0].summary["epochs"] > done.budget.epochs]
    drawn = [done.last, *(longest or done.baselines)]  # a shorter one of the same rate is the beginning of a longer one
    tests, epochs = curves_of(done.decays, "curves"), curves_of(drawn, "epochs")
    tests.to_parquet(run.path / "curves.parquet", index=False)
    epochs.to_parquet(run.path / "epochs.parquet", index=False)
    (run.path / "report.md").write_text(text)
    spent = done.budget.epochs - done.budget.last_run
    of_last = epochs["option"] == done.last.name
    shown = epochs.assign(epoch=epochs["epoch"] + spent * of_last)  # it begins when the search is over
    title = f"The recipe, with {done.budget.epochs} epochs in all"
    options = table_of([*done.decays, *drawn])
    figure = draw_trials(tests, shown, options, title=title, budget=done.budget.epochs)
    files = save_figure(figure, run.path / "figures" / "recipe")
    mirror_figure(job.config, run.path, "recipe", files[0], {"options": table_of(every)}, text=text)


def recipe_job(job: Job, config: DictConfig) -> None:
    """Follow the job's recipe, and show its report."""
    check_depth(job.config)
    text, console = recipe(job, config)["text"], Console()
    console.print(Markdown(text))
    console.print(f"figure: {run_report.relative(job.directory / 'figures' / 'recipe.png')}", soft_wrap=True)
