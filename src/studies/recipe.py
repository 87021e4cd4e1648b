"""Smith's recipe: choose learning rate and further settings by short tests, and train within a budget of epochs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from omegaconf import DictConfig

from start_training.config.build import build_datamodule
from start_training.config.build_module import build_module
from start_training.config.build_task import own_module
from start_training.diagnosis.diagnose import diagnose
from start_training.figures.trials import draw_trials
from start_training.files.replaced_file import replace_text
from start_training.models.training_module import TrainingModule
from start_training.reports.terminal import print_lines, print_markdown
from start_training.runs.job import Job
from start_training.settings import (
    OneOf,
    PositiveInteger,
    PositiveNumber,
    checked,
    described,
    fraction,
    list_of,
)
from start_training.studies.diagnose_config import batch_of
from start_training.studies.recipe_comparison import SHORT_SEEDS
from start_training.studies.recipe_rates import SGD, WEIGHT_DECAYS, class_of, family
from start_training.studies.recipe_report import RecipeRuns, report_of
from start_training.studies.recipe_search import (
    GroupChoice,
    RecipeSearch,
    asked_of,
    budget_of,
    larger_weight_decay,
    momentum_options,
    optimizer_options,
    weight_decay_options,
)
from start_training.studies.search import balance, next_run, shown_metric
from start_training.studies.study import Results, Study, print_figures
from start_training.studies.trial_checks import check_epochs
from start_training.studies.trials import Option, Seeds, Trials, curves_of, table_of
from start_training.studies.weight_decay_search import weight_decay_grid

Config = Mapping[str, Any]
OPTIMIZERS = ("sgd", "adam", "adamw")  # of conf/optimizer, that can be compared
HABIT = {"optimizer": GroupChoice("adamw", {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3,
                                            "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}),
         "schedule": GroupChoice("cosine", {"_target_": "start_training.schedules.cosine.Cosine", "_partial_": True,
                                            "end": 1e-4})}  # fmt: skip
RECOVERY = "start_training.training.recovery.Recovery"
DIAGNOSED, NETS = 64, 5  # training samples, and draws of the weights, of the diagnosis before the search


@checked
@dataclass(frozen=True)
class RecipeSettings(Seeds):
    """The settings of the recipe itself: keys of conf/recipe.yaml, which describes them."""

    budget: PositiveInteger
    times: PositiveInteger
    optimizers: Sequence[Annotated[str, OneOf(OPTIMIZERS)]] | None
    weight_decays: Annotated[Sequence[float], weight_decay_grid] | None
    momenta: Annotated[Sequence[Sequence[float]], list_of] | None
    test_share: Annotated[PositiveNumber, fraction]
    run_share: Annotated[PositiveNumber, fraction]
    baselines: bool
    baseline_lrs: Sequence[PositiveNumber] | None


def run(settings: RecipeSettings, job: Job, config: DictConfig) -> Results:
    """Carry out the recipe, and compare it with training as usual.

    1. The net is diagnosed; if it will not start to train, the report says so, and what mends it.
    2. A range test finds the largest learning rate; of each optimizer, if several are to be compared.
    3. Short runs compare what is to be compared: optimizers, weight decays, momenta. A candidate that is not told apart
       from the default is not chosen, and what the budget is too small for is not compared.
    4. The last run has the epochs that are left. It is watched: see `Recovery`.
    The baselines train for the whole budget, and for `times` as many epochs: the job's optimizer at its own rate, and
    AdamW at 1e-3 with a cosine. All choices use the validation loss, or the metric `monitor`.
    Source: Smith 2018 (arXiv:1803.09820).
    """
    check_epochs(job.config, job.overrides)
    datamodule = build_datamodule(job.config)
    datamodule.prepare_data()
    datamodule.setup("fit")
    warning = sickness(job.config, datamodule, settings.seed)
    if warning:
        print_lines(warning)
    recipe = make_runs(settings, Trials(config, job.directory, job.choices), job, datamodule, warning)
    began = time.process_time()
    overrides = next_run(job, recipe.last)
    text = report_of(recipe, overrides, balance(recipe.last, job.config))
    replace_text(job.directory / "report.md", text)
    drawn = [recipe.last, *recipe.longest_baselines]
    tests, epochs = curves_of(recipe.search.tested, "curves"), curves_of(drawn, "epochs")
    spent = settings.budget - recipe.search.budget.last_run  # epochs of the search: the last run starts there
    shown = epochs.assign(epoch=epochs["epoch"] + spent * (epochs["option"] == recipe.last.name))
    title, metric = f"The recipe, with {settings.budget} epochs in all", shown_metric(recipe.last.merit)
    options = table_of([*recipe.search.tested, *drawn])
    figure = draw_trials(tests, shown, options, title=title, budget=settings.budget, score=metric)
    compared = [option for comparison in recipe.search.comparisons for option in comparison.options]
    options = table_of([*recipe.search.tested, *compared, recipe.last, *recipe.baselines])
    tables = {"options.csv": options, "curves.parquet": tests, "epochs.parquet": epochs}
    summary = {
        "overrides_of_last_run": overrides,
        "results": table_of([recipe.last, *recipe.baselines]).to_dict("records"),
        "fallbacks": recipe.search.fallbacks,
        "text": text,
        "seconds_of_report": round(time.process_time() - began, 3),
    }
    return Results(summary, tables, {"recipe": figure}, text)


def make_runs(settings: RecipeSettings, trials: Trials, job: Job, datamodule: Any, warning: str = "") -> RecipeRuns:
    """Make the search, the last run for each seed, and the baselines; `warning` is that of `sickness`."""
    search, chosen = searched(settings, trials, job, datamodule, sick="not expected" in warning)
    merit = trials.merit
    run_changes = {
        **{key: value for key, value in chosen.run_changes.items() if key.startswith("schedule")},
        "trainer.max_epochs": search.budget.last_run,
        "callbacks.recovery": {"_target_": RECOVERY, "monitor": merit.monitor, "mode": merit.mode},
    }
    last = Option("the recipe", chosen.changes, run_changes)
    last.train(trials, settings.all_seeds)
    baselines = baseline_options(settings, job.config) if settings.baselines else []
    for option in baselines:
        option.train(trials, settings.all_seeds)
    return RecipeRuns(search, last, baselines, warning)


def searched(
    settings: RecipeSettings, trials: Trials, job: Job, datamodule: Any, *, sick: bool
) -> tuple[RecipeSearch, Option]:
    """Make the range tests and the comparisons, and return them with the option that was chosen."""
    config, names = job.config, settings.optimizers or []
    momentum_options(settings.momenta or (), {}, config)  # a mistake is found before anything is trained
    asked, tests = asked_of(config, job.overrides), max(1, len(names))
    budget = budget_of(settings.budget, settings.test_share, settings.run_share, tests, config, datamodule, asked)
    too_small = len(names) > 1 and budget.most_runs < SHORT_SEEDS * len(names)
    if too_small:
        names, budget = names[:1], replace(budget, tests=1)
    search = RecipeSearch(trials, config, settings.seed, budget, sick=sick, asked=asked)
    if too_small:
        search.skipped.append(f"optimizer: the budget is too small to compare, {names[0]} is used")
    typed = {word.lstrip("+").partition("=")[0] for word in job.overrides}
    tested = []
    for option in optimizer_options(names, config) if names else [Option("range test", {})]:
        changes = {**option.changes}
        decay = WEIGHT_DECAYS.get(class_of(search.optimizer(changes)))
        if decay is not None and "optimizer.weight_decay" not in typed:
            changes["optimizer.weight_decay"] = decay
        tested.append(search.range_test(option.name, changes))
    chosen = search.compare("optimizer", tested) if len(tested) > 1 else tested[0]
    if settings.weight_decays:
        default = search.optimizer(chosen.changes).get("weight_decay", 0.0)
        decays = weight_decay_options(settings.weight_decays, chosen.changes, default)
        chosen = search.compare("weight decay", decays, larger_weight_decay(decays))
    if settings.momenta:
        momenta = momentum_options(settings.momenta, chosen.changes, config)
        chosen = search.compare("momentum", momenta) if len(momenta) > 1 else momenta[0]
    return search, chosen


def baseline_options(settings: RecipeSettings, config: Config) -> list[Option]:
    """Return the baselines: the optimizer at constant rates, and AdamW at 1e-3 with a cosine, the usual habit."""
    counts = dict.fromkeys((settings.budget, settings.budget * settings.times))
    rates = dict.fromkeys(float(f"{rate:.2g}") for rate in settings.baseline_lrs or [config["optimizer"]["lr"]])
    fixed: list[tuple[str, dict[str, Any]]] = [
        (f"fixed rate {rate:g}", {"schedule": None, "optimizer.lr": rate}) for rate in rates
    ]
    return [
        Option(f"{name}, {count} epochs", {}, run_changes={**changes, "trainer.max_epochs": count})
        for count in counts
        for name, changes in (*fixed, ("AdamW 1e-3, cosine", dict(HABIT)))
    ]


def sickness(config: Config, datamodule: Any, seed: int) -> str:
    """Return a sentence if the net will not start to train, or was not diagnosed; "" for a net that will.

    A copy of the net is measured on training samples, and nothing is trained.
    """
    if own_module(config) is not None:
        return ""
    try:
        batch = batch_of(datamodule, DIAGNOSED, seed)
        module = build_module(config, datamodule).module
        assert isinstance(module, TrainingModule)
        name = "sgd" if family(config["optimizer"]) == SGD else "adam"
        settings: dict[str, Any] = {"optimizer": name, "trial": False, "nets": NETS, "seed": seed}
        diagnosis = diagnose(module.net, batch, loss=module.task.loss, **settings)
    except Exception as error:  # of a net that a diagnosis cannot take; whether it can train is seen in the search
        return f"The net was not diagnosed: {described(error)}."
    start = diagnosis.starts[name]
    if start.answer != "no":
        return ""
    return (
        f"The net is not expected to start training with {name} ({start.reason}); "
        "initializer=auto mends its weights, and the command diagnose explains."
    )


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print the report of a finished recipe and the paths of its figures."""
    print_markdown(summary["text"])
    print_figures(job.directory)


RECIPE = Study(RecipeSettings, run, report, trains=True)
