"""Smith's recipe: choose learning rate, weight decay and momentum, and train one cycle, within a budget of epochs."""

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
from start_training.files.replaced_file import replace_text
from start_training.reports.run_clues import sentence as clues_sentence
from start_training.runs.job import Job
from start_training.schedules.budget import Budget
from start_training.schedules.weight_decay import next_weight_decay
from start_training.settings import PositiveInteger, PositiveNumber, checked, fraction, list_of, positive_integer
from start_training.studies.momentum_search import momentum_option
from start_training.studies.search import balance, best_option, best_test, next_run, plus_minus, usable
from start_training.studies.study import Results, Study, print_figures
from start_training.studies.trial_checks import check_epochs
from start_training.studies.trials import Option, Seeds, Trials, curves_of, table_of
from start_training.studies.weight_decay_search import weight_decay_grid

Config = Mapping[str, Any]
MIN_TEST_STEPS = 100  # shorter range tests may end before the damage of a large learning rate shows
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


@dataclass(frozen=True)
class RecipeRuns:
    """All range tests and training runs of Smith's recipe.

    `decays` are weight decays with their range tests, `momenta` are momenta with their range tests and short runs,
    `last` is the chosen option with its last run for each seed, and `baselines` are fixed learning rates.
    """

    budget: Budget
    decays: Sequence[Option]
    momenta: Sequence[Option]
    last: Option
    baselines: Sequence[Option]


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
    title = f"The recipe, with {settings.budget} epochs in all"
    figure = draw_trials(tests, shown, table_of([*recipe.decays, *drawn]), title=title, budget=settings.budget)
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


def report_of(recipe: RecipeRuns, overrides: Sequence[str], balance: Sequence[str]) -> str:
    """Write the report of Smith's recipe in Markdown.

    Args:
        recipe: The runs of the recipe.
        overrides: The overrides with which the command train repeats the last run.
        balance: Sentences on which regularization to lower in exchange for settings that the recipe raised.
    """
    budget, suggestion, last = recipe.budget, recipe.last.tests[0].suggestion, recipe.last.runs[0].summary
    few = budget.steps_of_test < MIN_TEST_STEPS
    seeds = f"{len(recipe.last.runs)} seed{'s' * (len(recipe.last.runs) > 1)}"
    short = f"{budget.epochs_of_run} epoch{'s' * (budget.epochs_of_run > 1)}"
    lines = [
        f"# The recipe, with {budget.epochs} epochs in all",
        "",
        f"Test accuracy {_percent(recipe.last.final('test/accuracy'))}, {seeds}.",
        "",
        *_differences(recipe.last, recipe.baselines),
        "",
        "| | epochs | validation loss | validation accuracy | test accuracy |",
        "|---|---|---|---|---|",
        *(_row(option, budget.epochs) for option in (recipe.last, *recipe.baselines)),
        "",
        f"Mean over {seeds} ± standard error. The recipe's last run has {budget.last_run} "
        f"epochs; {budget.tests} range tests of {budget.steps_of_test} steps and {budget.runs} runs of "
        f"{short} took the other epochs.",
        *["", f"Range tests of fewer than {MIN_TEST_STEPS} steps may suggest too large a learning rate."] * few,
        "",
        f"Largest learning rate {recipe.last.max_lr:.2g}: {suggestion['rule']}.",
        "",
        f"Clues from the curves of the last run, seed {last['seed']}: {clues_sentence(last['clues'])}",
        *(line for sentence in balance for line in ("", sentence)),
        *_search_tables(recipe, short),
        "",
        f"To repeat the last run: `{shell_command('train')} {shlex.join(overrides)}`",
    ]
    return "\n".join(lines) + "\n"


def _search_tables(recipe: RecipeRuns, short: str) -> list[str]:
    """Return the Markdown lines of two tables: the tested weight decays and the tested momenta."""
    tests = [f"| {option.name} | {option.max_lr:.3g} | {option.lowest_loss:.4g} |" for option in recipe.decays]
    runs = [
        f"| {option.name} | {option.max_lr:.2g} | {option.final('val/loss')[0]:.4g} |"
        for option in recipe.momenta
        if option.runs
    ]
    decay_table = ["", "| range test with | largest rate | lowest validation loss |", "|---|---|---|", *tests]
    return [*decay_table, "", f"| momentum, {short} | largest rate | validation loss |", "|---|---|---|", *runs]


def _row(option: Option, budget: int) -> str:
    loss, accuracy, test = (option.final(name) for name in ("val/loss", "val/accuracy", "test/accuracy"))
    epochs = budget if option.tests else option.runs[0].summary["epochs"]
    return f"| {option.name} | {epochs} | {plus_minus(*loss)} | {_percent(accuracy)} | {_percent(test)} |"


def _percent(value: tuple[float, float]) -> str:
    mean, error = (100 * number for number in value)
    return f"{mean:.2f}%" if np.isnan(error) else f"{mean:.2f} ± {error:.2f}%"


def _differences(last: Option, baselines: Sequence[Option]) -> list[str]:
    """Return a Markdown line for each baseline: the test accuracy of the recipe's last run minus the baseline's."""
    lines, (accuracy, accuracy_error) = list[str](), last.final("test/accuracy")
    for baseline in baselines:
        baseline_accuracy, error = baseline.final("test/accuracy")
        difference, deviation = 100 * (accuracy - baseline_accuracy), 100 * float(np.hypot(accuracy_error, error))
        note = " (not significant: within two standard errors of 0)" if abs(difference) <= 2 * deviation else ""
        spread = " points (one seed)" if np.isnan(deviation) else f" ± {deviation:.2f} points{note}"
        lines.append(f"- test accuracy of the recipe minus that of {baseline.name}: {difference:+.2f}{spread}")
    return lines


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print the report of a finished recipe and the paths of its figures."""
    Console().print(Markdown(summary["text"]))
    print_figures(job.directory)


RECIPE = Study(RecipeSettings, run, report, trains=True)
