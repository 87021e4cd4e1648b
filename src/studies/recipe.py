"""Smith's recipe in one go: range tests, weight decay, momentum, one cycle, within a budget, and its baselines."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from start_training.config.build import build_datamodule
from start_training.config.errors import shell_command
from start_training.figures.trials import draw_trials
from start_training.reports.run_clues import sentence as clues_sentence
from start_training.runs.job import Job
from start_training.schedules.budget import Budget
from start_training.schedules.weight_decay import next_weight_decay
from start_training.settings import PositiveInteger, PositiveNumber, checked, fraction, list_of, positive_integer
from start_training.settings import positive_number as positive
from start_training.studies.momentum_search import momentum_option
from start_training.studies.search import balance, best_option, best_test, next_run, plus_minus, usable
from start_training.studies.study import Results, Study, print_figures
from start_training.studies.trials import Option, Seeds, Trials, check_epochs, curves_of, table_of
from start_training.studies.weight_decay_search import grid

Config = Mapping[str, Any]
ENOUGH = 100  # steps of a range test: with fewer, what a large rate destroys may not show yet
BEYOND = 6  # times a rate known roughly, up to which a linear range test goes: there learning is lost for certain


@checked
@dataclass(frozen=True)
class RecipeSettings(Seeds):
    """The keys of conf/recipe.yaml that are not those of a run; comments there describe them."""

    budget: PositiveInteger
    times: PositiveInteger
    weight_decays: Annotated[Sequence[float], grid]
    momenta: Annotated[Sequence[Sequence[float]], list_of]
    test_share: Annotated[float, positive, fraction]
    run_share: Annotated[float, positive, fraction]
    baseline_lrs: Sequence[PositiveNumber] | None


@dataclass(frozen=True)
class RecipeRuns:
    """All runs of the recipe: range tests of weight decays, short runs of momenta, the last runs, and baselines."""

    budget: Budget
    decays: Sequence[Option]
    momenta: Sequence[Option]
    last: Option
    baselines: Sequence[Option]


def run(settings: RecipeSettings, job: Job, config: DictConfig) -> Results:
    """Follow the recipe, and compare with fixed rates.

    A range test finds the order of magnitude of the rates; linear ones from there follow, of all weight decays and of
    one more by bisection, at the momentum that belongs to the largest rate of the first of `momenta`; then short runs
    of each momentum; last a run of one cycle with what was chosen. Validation loss decides. The baselines train at
    fixed rates with the job's own optimizer, for the whole budget and for `times` as long.
    Source: Smith 2018 (arXiv:1803.09820).
    """
    done = follow(settings, Trials(config, job.directory), job.config)
    overrides = next_run(job, done.last)
    text = report_of(done, overrides, balance(done.last, job.config))
    (job.directory / "report.md").write_text(text)
    summary = {
        "overrides_of_last_run": overrides,
        "results": table_of([done.last, *done.baselines]).to_dict("records"),
        "text": text,
    }
    longest = [option for option in done.baselines if option.runs[0].summary["epochs"] > settings.budget]
    drawn = [done.last, *(longest or done.baselines)]  # a shorter one of the same rate is the beginning of a longer one
    tests, epochs = curves_of(done.decays, "curves"), curves_of(drawn, "epochs")
    spent = settings.budget - done.budget.last_run
    shown = epochs.assign(
        epoch=epochs["epoch"] + spent * (epochs["option"] == done.last.name)
    )  # the search comes first
    title = f"The recipe, with {settings.budget} epochs in all"
    figure = draw_trials(tests, shown, table_of([*done.decays, *drawn]), title=title, budget=settings.budget)
    options = table_of([*done.decays, *done.momenta, done.last, *done.baselines])
    tables = {"options.csv": options, "curves.parquet": tests, "epochs.parquet": epochs}
    return Results(summary, tables, {"recipe": figure}, text)


def follow(settings: RecipeSettings, trials: Trials, config: Config) -> RecipeRuns:
    """Make all range tests and runs of the recipe."""
    check_epochs(config)
    momenta = [momentum_option("momenta", momentum, config) for momentum in settings.momenta]
    budget, seed = budget_of(settings, config), settings.seed
    test = partial(range_test, trials, seed, budget.steps_of_test)
    located = test(Option("", momenta[0].changes))
    if np.isnan(around := located.max_lr):
        raise ValueError(f"budget = {settings.budget}: {located.tests[0].suggestion['rule']}")
    decays: dict[float, Option] = {}
    while len(decays) <= len(settings.weight_decays):  # those of the settings, and one by bisection
        left = [value for value in settings.weight_decays if value not in decays]
        value = left[0] if left else next_weight_decay({key: option.lowest_loss for key, option in decays.items()})
        changes = {"optimizer.weight_decay": value, **momenta[0].changes}
        decays[value] = test(Option(f"weight decay {value:g}", changes), around)
    in_order = [decays[value] for value in sorted(decays)]
    decay = best_test(in_order)
    for option in momenta:
        option.changes = {**decay.changes, **option.changes}
        option.of_runs = {**option.of_runs, "trainer.max_epochs": budget.epochs_of_run}
        test(option, around)
    for option in usable(momenta):
        option.train(trials, [seed])
    chosen = best_option(momenta)
    of_last = {**chosen.of_runs, "trainer.max_epochs": budget.last_run}
    last = replace(chosen, name="the recipe", of_runs=of_last, runs=[])
    rates = settings.baseline_lrs or [config["optimizer"]["lr"], last.max_lr / 3]
    baselines = at_fixed_rates(rates, (budget.epochs, budget.epochs * settings.times))
    for option in (last, *baselines):
        option.train(trials, settings.all_seeds)
    return RecipeRuns(budget, in_order, momenta, last, baselines)


def range_test(trials: Trials, seed: int, steps: int, option: Option, around: float | None = None) -> Option:
    """Make one range test of an option, over the config's rates or linearly through those around a rate.

    Args:
        trials: Makes the runs.
        seed: Of the run.
        steps: Length of the test.
        option: What is tested; it is returned.
        around: A rough estimate of the largest rate.
    """
    points = min(trials.config.range_tests.range_test.val_points, steps)
    rates = {"ramp": "linear", "min_lr": around / 10, "max_lr": BEYOND * around} if around else {}
    return option.test(trials, [seed], steps=steps, val_points=points, **rates)


def at_fixed_rates(rates: Sequence[float], epochs: Sequence[int]) -> list[Option]:
    """The baselines: each rate, to two digits, with each number of epochs."""
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


def budget_of(settings: RecipeSettings, config: Config) -> Budget:
    """How the budget is shared between range tests, short runs and the last run, with the config's data."""
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup("fit")
    batches = positive_integer("accumulate_grad_batches", config["trainer"].get("accumulate_grad_batches", 1))
    steps = -(-len(datamodule.train_dataloader()) // batches)
    runs = len(settings.momenta)
    tests = len(settings.weight_decays) + 1 + runs
    return Budget(settings.budget, steps, tests, runs, settings.test_share, settings.run_share)


def report_of(done: RecipeRuns, overrides: Sequence[str], balance: Sequence[str]) -> str:
    """The report in Markdown.

    Args:
        done: The runs.
        overrides: Those with which the command train repeats the last run.
        balance: Sentences on what to lower for what was raised.
    """
    budget, suggestion, last = done.budget, done.last.tests[0].suggestion, done.last.runs[0].summary
    few = f" Range tests of fewer than {ENOUGH} steps may allow too much." if budget.steps_of_test < ENOUGH else ""
    seeds = f"{len(done.last.runs)} seed{'s' * (len(done.last.runs) > 1)}"
    short = f"{budget.epochs_of_run} epoch{'s' * (budget.epochs_of_run > 1)}"
    lines = [
        f"# The recipe, with {budget.epochs} epochs in all",
        "",
        f"Test accuracy {_percent(done.last.final('test/accuracy'))}, {seeds}.",
        "",
        *_verdicts(done.last, done.baselines),
        "",
        "| | epochs | validation loss | validation accuracy | test accuracy |",
        "|---|---|---|---|---|",
        *(_row(option, budget.epochs) for option in (done.last, *done.baselines)),
        "",
        f"Mean over {seeds} ± standard error. The recipe's last run has {budget.last_run} "
        f"epochs; {budget.tests} range tests of {budget.steps_of_test} steps and {budget.runs} runs of "
        f"{short} took the others.{few}",
        "",
        f"Rate {done.last.max_lr:.2g}: {suggestion['rule']}.",
        "",
        f"Clues of the last run, seed {last['seed']}: {clues_sentence(last['clues'])}",
        *(line for sentence in balance for line in ("", sentence)),
        *_tried(done, short),
        "",
        f"Again: `{shell_command('train')} {shlex.join(overrides)}`",
    ]
    return "\n".join(lines) + "\n"


def _tried(done: RecipeRuns, short: str) -> list[str]:
    """Tables of the weight decays and momenta that were tried."""
    tests = [f"| {option.name} | {option.max_lr:.3g} | {option.lowest_loss:.4g} |" for option in done.decays]
    runs = [
        f"| {option.name} | {option.max_lr:.2g} | {option.final('val/loss')[0]:.4g} |"
        for option in done.momenta
        if option.runs
    ]
    of_tests = ["", "| range test of | largest rate | lowest validation loss |", "|---|---|---|", *tests]
    return [*of_tests, "", f"| momentum, {short} | rate | validation loss |", "|---|---|---|", *runs]


def _row(option: Option, budget: int) -> str:
    loss, accuracy, test = (option.final(name) for name in ("val/loss", "val/accuracy", "test/accuracy"))
    epochs = budget if option.tests else option.runs[0].summary["epochs"]
    return f"| {option.name} | {epochs} | {plus_minus(*loss)} | {_percent(accuracy)} | {_percent(test)} |"


def _percent(value: tuple[float, float]) -> str:
    mean, error = (100 * number for number in value)
    return f"{mean:.2f}%" if np.isnan(error) else f"{mean:.2f} ± {error:.2f}%"


def _verdicts(last: Option, baselines: Sequence[Option]) -> list[str]:
    """A line for each baseline: the difference in test accuracy, which was not used to choose anything."""
    ours, our_error = last.final("test/accuracy")
    sentences = []
    for baseline in baselines:
        theirs, error = baseline.final("test/accuracy")
        difference, deviation = 100 * (ours - theirs), 100 * float(np.hypot(our_error, error))
        told = " (within two standard errors of none)" if abs(difference) <= 2 * deviation else ""
        spread = " points (one seed)" if np.isnan(deviation) else f" ± {deviation:.2f} points{told}"
        sentences.append(f"- against {baseline.name}: {difference:+.2f}{spread}")
    return sentences


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print report.md."""
    Console().print(Markdown(summary["text"]))
    print_figures(job.directory)


RECIPE = Study(RecipeSettings, run, report, trains=True)
