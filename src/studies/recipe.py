"""Smith's recipe: choose learning rate, weight decay and momentum, and train one cycle, within a budget of epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from start_training.config.build import build_datamodule
from start_training.figures.trials import draw_trials
from start_training.files.replaced_file import replace_text
from start_training.runs.job import Job
from start_training.schedules.budget import Budget
from start_training.schedules.weight_decay import next_weight_decay
from start_training.settings import PositiveInteger, PositiveNumber, checked, fraction, list_of, positive_integer
from start_training.studies.momentum_search import momentum_option
from start_training.studies.recipe_report import RecipeRuns, report_of
from start_training.studies.search import (
    balance,
    best_option,
    best_test,
    next_run,
    shown_metric,
    usable,
)
from start_training.studies.study import Results, Study, print_figures
from start_training.studies.trial_checks import check_epochs
from start_training.studies.trials import Option, Seeds, Trials, curves_of, table_of
from start_training.studies.weight_decay_search import weight_decay_grid

Config = Mapping[str, Any]
MAX_RATE_FACTOR = 6  # a linear range test ends at this multiple of the estimated rate, where training surely fails


@checked
@dataclass(frozen=True)
class RecipeSettings(Seeds):
    """The settings of the recipe itself: keys of conf/recipe.yaml, which describes them."""

    budget: PositiveInteger
    times: PositiveInteger
    weight_decays: Annotated[Sequence[float], weight_decay_grid]
    momenta: Annotated[Sequence[Sequence[float]], list_of]
    test_share: Annotated[PositiveNumber, fraction]
    run_share: Annotated[PositiveNumber, fraction]
    baseline_lrs: Sequence[PositiveNumber] | None


def run(settings: RecipeSettings, job: Job, config: DictConfig) -> Results:
    """Carry out Smith's recipe, and compare it with training at fixed learning rates.

    1. A range test finds the order of magnitude of the learning rate.
    2. Linear range tests around it compare the weight decays of the settings and one more, found by bisection. They use
       the momentum that the first entry of `momenta` has at the largest learning rate.
    3. Short runs compare the momenta.
    4. A last run of one cycle uses the chosen weight decay and momentum. All choices use the validation loss.
    The baselines train with the job's optimizer settings, for the whole budget and for `times` as many epochs.
    Source: Smith 2018 (arXiv:1803.09820).
    """
    check_epochs(job.config, job.overrides)
    recipe = make_runs(settings, Trials(config, job.directory, job.choices), job.config)
    overrides = next_run(job, recipe.last)
    text = report_of(recipe, overrides, balance(recipe.last, job.config))
    replace_text(job.directory / "report.md", text)
    summary = {
        "overrides_of_last_run": overrides,
        "results": table_of([recipe.last, *recipe.baselines]).to_dict("records"),
        "text": text,
    }
    longest = [option for option in recipe.baselines if option.runs[0].summary["epochs"] > settings.budget]
    # Of the baselines with the same rate only the longest is drawn: the shorter run is the beginning of the longer one.
    drawn = [recipe.last, *(longest or recipe.baselines)]
    tests, epochs = curves_of(recipe.decays, "curves"), curves_of(drawn, "epochs")
    spent = settings.budget - recipe.budget.last_run  # epochs of the search; the curve of the last run starts there
    shown = epochs.assign(epoch=epochs["epoch"] + spent * (epochs["option"] == recipe.last.name))
    title, metric = f"The recipe, with {settings.budget} epochs in all", shown_metric(recipe.last.merit)
    options = table_of([*recipe.decays, *drawn])
    figure = draw_trials(tests, shown, options, title=title, budget=settings.budget, score=metric)
    options = table_of([*recipe.decays, *recipe.momenta, recipe.last, *recipe.baselines])
    tables = {"options.csv": options, "curves.parquet": tests, "epochs.parquet": epochs}
    return Results(summary, tables, {"recipe": figure}, text)


def make_runs(settings: RecipeSettings, trials: Trials, config: Config) -> RecipeRuns:
    """Make all range tests and training runs of Smith's recipe, in the order that `run` describes."""
    momenta = [momentum_option("momenta", momentum, config) for momentum in settings.momenta]
    budget, seed = budget_of(settings, config), settings.seed
    test = partial(range_test, trials, seed, budget.steps_of_test)
    first = test(Option("", momenta[0].changes))
    if np.isnan(estimate := first.max_lr):
        raise ValueError(f"budget = {settings.budget}: no learning rate works: {first.tests[0].suggestion['rule']}")
    decays: dict[float, Option] = {}
    for given in (*settings.weight_decays, None):  # None stands for one more weight decay, found by bisection
        losses = {value: option.lowest_loss for value, option in decays.items()}
        value = next_weight_decay(losses) if given is None else given
        changes = {"optimizer.weight_decay": value, **momenta[0].changes}
        decays[value] = test(Option(f"weight decay {value:g}", changes), estimate)
    in_order = [decays[value] for value in sorted(decays)]
    decay = best_test(in_order)
    for option in momenta:
        option.changes = {**decay.changes, **option.changes}
        option.run_changes = {**option.run_changes, "trainer.max_epochs": budget.epochs_of_run}
        test(option, estimate)
    for option in usable(momenta):
        option.train(trials, [seed])
    chosen = best_option(momenta)
    run_changes = {**chosen.run_changes, "trainer.max_epochs": budget.last_run}
    last = replace(chosen, name="the recipe", run_changes=run_changes, runs=[])
    rates = settings.baseline_lrs or [config["optimizer"]["lr"], last.max_lr / 3]
    baselines = fixed_rate_options(rates, (budget.epochs, budget.epochs * settings.times))
    for option in (last, *baselines):
        option.train(trials, settings.all_seeds)
    return RecipeRuns(budget, in_order, momenta, last, baselines)


def range_test(trials: Trials, seed: int, steps: int, option: Option, estimate: float | None = None) -> Option:
    """Make one range test of `option`, and return `option`.

    Args:
        trials: Trains the runs of the study.
        seed: Seed of the run.
        steps: Length of the range test in optimizer steps.
        estimate: A rough estimate of the largest learning rate: the test rises linearly from a tenth of it to
            `MAX_RATE_FACTOR` times it. Without an estimate, the test covers the rates given by the config.
    """
    points = min(trials.config.range_tests.range_test.val_points, steps)
    rates = {"ramp": "linear", "min_lr": estimate / 10, "max_lr": MAX_RATE_FACTOR * estimate} if estimate else {}
    return option.test(trials, [seed], steps=steps, val_points=points, **rates)


def fixed_rate_options(rates: Sequence[float], epochs: Sequence[int]) -> list[Option]:
    """Return the baselines: one option for each fixed learning rate, rounded to two digits, and number of epochs."""
    rounded = dict.fromkeys(float(f"{rate:.2g}") for rate in rates)
    return [
        Option(
            f"fixed rate {rate:g}, {count} epochs",
            {},
            run_changes={"schedule": None, "optimizer.lr": rate, "trainer.max_epochs": count},
        )
        for count in dict.fromkeys(epochs)
        for rate in rounded
    ]


def budget_of(settings: RecipeSettings, config: Config) -> Budget:
    """Divide the budget of epochs among range tests, short runs and the last run, given the config's data."""
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup("fit")
    batches = positive_integer("accumulate_grad_batches", config["trainer"].get("accumulate_grad_batches", 1))
    steps = -(-len(datamodule.train_dataloader()) // batches)
    runs, tests = len(settings.momenta), len(settings.weight_decays) + 1 + len(settings.momenta)
    return Budget(settings.budget, steps, tests, runs, settings.test_share, settings.run_share)


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print the report of a finished recipe and the paths of its figures."""
    Console().print(Markdown(summary["text"]))
    print_figures(job.directory)


RECIPE = Study(RecipeSettings, run, report, trains=True)
