"""The weight-decay guideline: compute the weight decay that holds a net at the edge of chaos, and check it by training.

Short runs without weight decay measure the growth A per epoch of J² = fan_in · Var W of a square layer, which is 1 at
the edge of chaos. The weight decay that stops the growth there is λ* = A (1 − alpha) B / (4 eta S).
Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), on weight decay.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from start_training.config.loggers import named_nodes
from start_training.config.mistakes import target_of
from start_training.figures.trials import draw_guideline
from start_training.files.replaced_file import replace_text
from start_training.order_chaos.slope import MIN_WINDOW
from start_training.reports.terminal import print_lines, print_markdown
from start_training.runs.job import Job
from start_training.settings import AtLeast, Fraction, NumberFromZero, checked, list_of, number_from_zero
from start_training.studies.guideline.guideline_report import report_of
from start_training.studies.guideline.guideline_runs import Check, Curve, Measured, SeedRuns
from start_training.studies.guideline.premises import PremiseFails, check_config, mean_slope
from start_training.studies.study import Results, Study, print_figures
from start_training.studies.trial_checks import check_epochs
from start_training.studies.trials import Changes, Seeds, Trials, as_override, run_overrides

DOES_NOT_APPLY = 3  # the exit status if the guideline does not apply
MAX_EPOCHS = 300  # upper limit of the number of epochs that is chosen if the config gives none
FACTOR_NAMES = {0.0: "no decay", 1.0: "λ*"}  # names of runs with 0 and 1 times λ*
J2_TOLERANCE = 0.1  # λ* is corrected if J² ends farther from 1 than this (5% of J)
FASTER_LENGTH = 2.0  # a faster run lasts this multiple of the epochs that it should take to the edge
DEFAULTS = {  # the defaults of conf/weight_decay.yaml that differ from those of conf/train.yaml
    "model": "tanh_layer", "initializer": "phase", "readout_initializer": "glorot_uniform", "callbacks": "phase",
    "datamodule.validation": "0", "datamodule.scaling": "unit",
}  # fmt: skip
Epochs = Annotated[int, AtLeast(int(MIN_WINDOW))]


def fit_window(name: str, value: object) -> tuple[float, float]:
    """Constraint for the window of a fit: [start, end] in epochs, at least `MIN_WINDOW` apart."""
    values = list_of(name, value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    ends = [number_from_zero(name, end) for end in values]
    if len(ends) != 2 or ends[1] - ends[0] < MIN_WINDOW:
        raise ValueError(f"{name} = {value!r}: must be [start, end], at least {MIN_WINDOW:g} epochs apart")
    return ends[0], ends[1]


def speed_factors(name: str, value: object) -> list[float]:
    """Constraint for speeds: a list of numbers above 1, returned sorted; null is an empty list."""
    factors = [] if value is None or (isinstance(value, list) and not value) else list_of(name, value)
    if any(number_from_zero(name, factor) <= 1 for factor in factors):
        raise ValueError(
            f"{name} = {value}: must be a list of numbers above 1, factors on lr / ((1 − momentum) batch_size)"
        )
    return sorted({float(factor) for factor in factors})


@checked
@dataclass(frozen=True)
class GuidelineSettings(Seeds):
    """The settings of the guideline itself: keys of conf/weight_decay.yaml, which describes them."""

    measure: Epochs
    window: Annotated[tuple[float, float], fit_window] | None
    skip: Fraction
    train: bool
    epochs: Epochs | None
    factors: Sequence[NumberFromZero]
    correct: bool
    speed: Annotated[Sequence[float], speed_factors]

    @staticmethod
    def unused_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return which of the settings have no effect, with the reason."""
        without_window = {"skip": f"with window = {settings['window']}"} if settings["window"] else {}
        training = dict.fromkeys(("epochs", "factors", "correct", "speed"), "with train = false")
        return without_window | ({} if settings["train"] else training)

    def __post_init__(self) -> None:
        if self.window and self.window[1] > self.measure:
            raise ValueError(
                f"window = {[*self.window]}: must not end after measure = {self.measure}, the epochs of a short run"
            )


def run(settings: GuidelineSettings, job: Job, config: DictConfig) -> Results:
    """Carry out the weight-decay guideline: compute the recommended weight decay, and check it if `train` is set.

    Short runs measure the growth A of J² = fan_in · Var W, from which the weight decay λ* follows. If a premise of the
    guideline does not hold, the results state the reason instead.
    """
    check_epochs(job.config, job.overrides)
    targets = [target_of(node, f"callbacks.{name}") for name, node in named_nodes(job.config, "callbacks")]
    if not any(getattr(target, "table", None) == "phase" for target in targets):
        given = ", ".join(job.config["callbacks"] or ()) or "none"
        raise ValueError(f"callbacks = {given}: must contain phase; type callbacks=phase")
    trials = Trials(config, job.directory, job.choices)
    try:
        measured = measure(settings, trials, job.config)
    except PremiseFails as reason:
        return Results({"applies": False, "reason": str(reason)})
    check = train_and_check(settings, trials, measured) if settings.train else None
    overrides = next_run(job, measured)
    text = report_of(measured, check, speeds=settings.speed, window=settings.window, overrides=overrides)
    replace_text(job.directory / "report.md", text)
    summary = {**summary_of(measured, check), "overrides_of_next_run": overrides, "text": text}
    if check is None:
        return Results(summary)
    options = pd.DataFrame([trained.row() for trained in check.runs])
    curves = pd.concat([trained.table() for trained in check.runs], ignore_index=True)
    predicted = pd.concat([trained.predicted() for trained in check.runs], ignore_index=True)
    title = f"Weight decay 2 λ* = {measured.weight_decay:.3g}, from {settings.measure} epochs without any"
    figure = draw_guideline(curves, predicted, options, title=title)
    return Results(summary, {"options.csv": options, "epochs.parquet": curves}, {"weight_decay": figure}, text)


def measure(settings: GuidelineSettings, trials: Trials, config: Mapping[str, Any]) -> Measured:
    """Train short runs without weight decay, fit the growth A of J² = fan_in · Var W, and compute λ* from A.

    Raises:
        PremiseFails: The guideline does not apply.
    """
    descent, layer = check_config(config)
    curves = runs(settings, trials, layer.name, {"trainer.max_epochs": settings.measure})
    slope = mean_slope(curves, settings.window, skip=settings.skip)
    lambda_star = descent.lambda_star(slope.A)
    return Measured(descent, layer.name, layer.weight.shape[1], curves, slope, lambda_star)


def runs(settings: GuidelineSettings, trials: Trials, layer: str, changes: Changes) -> list[Curve]:
    """Train a run with each seed, and return the curves of J² = fan_in · Var W of the layer named `layer`."""
    return [Curve.of(trials.train({**changes, "seed": seed}), layer) for seed in settings.all_seeds]


def train_and_check(settings: GuidelineSettings, trials: Trials, measured: Measured) -> Check:
    """Train with the recommended weight decay λ* and with the multiples of λ* in `factors`, to check the guideline.

    If `correct` is set and J² = fan_in · Var W does not settle at 1, further runs use λ' = λ* A' / A, where A' is the
    growth that training adds to J² under the weight decay λ*. If `speed` is set, `train_faster` adds its runs.
    """
    A, epochs = measured.slope.A, settings.epochs or epochs_to_settle(measured)

    def train(name: str, factor: float, A: float) -> SeedRuns:
        weight_decay = float(f"{factor * measured.weight_decay:.3g}")
        changes = {"trainer.max_epochs": epochs, "optimizer.weight_decay": weight_decay}
        curves, rate = runs(settings, trials, measured.layer, changes), measured.descent.decay_rate(weight_decay)
        return SeedRuns(name, weight_decay, curves, measured.slope.C, A, rate)

    factors = sorted({1.0, *settings.factors})
    trained = [train(FACTOR_NAMES.get(factor, f"{factor:g} λ*"), factor, A) for factor in factors]
    at_lambda_star, corrected = trained[factors.index(1.0)], None
    J, (A_under_decay, _) = at_lambda_star.J[0], at_lambda_star.A_under_decay
    if settings.correct and np.isfinite(A_under_decay) and A_under_decay > 0 and abs(J**2 - 1) > J2_TOLERANCE:
        factor = A_under_decay / A
        corrected = train(f"{factor:.2g} λ*, corrected", factor, A_under_decay)
    in_order = sorted([*trained, *([corrected] if corrected else [])], key=lambda runs: runs.weight_decay)
    return Check(epochs, in_order, at_lambda_star, corrected, train_faster(settings, trials, measured))


def train_faster(settings: GuidelineSettings, trials: Trials, measured: Measured) -> list[tuple[float, SeedRuns]]:
    """Train without weight decay with a larger eta / ((1 − alpha) B), to check that J² reaches 1 in fewer epochs.

    The factor is the largest entry of `speed` with which the edge is still at least `MIN_WINDOW` epochs away. One
    setting raises eta by this factor, and another divides the batch size by it, if the result is a whole number.

    Returns:
        Pairs of the factor and the runs of one setting; empty if no entry of `speed` can be used.
    """
    descent, slope = measured.descent, measured.slope
    epochs, _ = slope.epochs_to_edge
    if not (slow_enough := [speed for speed in settings.speed if epochs / speed >= MIN_WINDOW]):
        return []
    speed = slow_enough[-1]
    until = math.ceil(max(FASTER_LENGTH * epochs / speed, epochs / speed + MIN_WINDOW))
    ways: dict[str, Changes] = {f"{speed:g} eta": {"optimizer.lr": float(f"{speed * descent.eta:.6g}")}}
    if (batch := descent.smaller_batch(speed)) is not None:
        ways[f"B / {speed:g}"] = {"datamodule.batch_size": batch}
    faster = []
    for name, change in ways.items():
        curves = runs(settings, trials, measured.layer, {"trainer.max_epochs": until, **change})
        faster.append((speed, SeedRuns(name, 0.0, curves, slope.C, speed * slope.A, 0.0)))
    return faster


def epochs_to_settle(measured: Measured) -> int:
    """Return the number of epochs in which J² settles under weight decay, 3 / A, but at most `MAX_EPOCHS`."""
    return min(math.ceil(3 / measured.slope.A), MAX_EPOCHS)


def next_run(job: Job, measured: Measured) -> list[str]:
    """Return the overrides with which the command train uses the computed weight decay on the job's model and data."""
    overrides = run_overrides(job)
    groups = {word.lstrip("+~").partition("=")[0] for word in overrides}
    defaults = [f"{key}={value}" for key, value in DEFAULTS.items() if key not in groups]
    changes = {"optimizer.weight_decay": measured.weight_decay, "trainer.max_epochs": epochs_to_settle(measured)}
    return [*defaults, *overrides, *(as_override(key, value) for key, value in changes.items())]


def summary_of(measured: Measured, check: Check | None) -> dict[str, Any]:
    """Return the numbers of the guideline as plain data for summary.json."""
    slope, descent = measured.slope, measured.descent
    return {
        "applies": True,
        "layer": measured.layer,
        "fan_in": measured.fan_in,
        **{name: getattr(descent, name) for name in ("eta", "alpha", "batch", "samples")},
        **{name: getattr(slope, name) for name in ("A", "C", "error", "fit", "seeds", "bend")},
        "windows": [[line.start, line.end] for line in slope.slopes],
        "lambda": measured.lambda_star,
        "weight_decay": measured.weight_decay,
        "weight_decay_error": measured.weight_decay_error,
        "epochs_to_edge": slope.epochs_to_edge[0],
        "measured_epochs_to_edge": [curve.edge for curve in measured.curves],
        "training": [trained.row() for trained in check.runs] if check else [],
        "growth_under_decay": check.at_lambda_star.A_under_decay[0] if check else None,
        "faster": [{"speed": speed, **trained.row()} for speed, trained in check.faster] if check else [],
    }


def report(job: Job, summary: Mapping[str, Any]) -> int:
    """Print the report, or the reason why the guideline does not apply; return the exit status."""
    if not summary["applies"]:
        print_lines(f"the guideline does not apply: {summary['reason']}")
        return DOES_NOT_APPLY
    print_markdown(summary["text"])
    print_figures(job.directory)
    return 0


GUIDELINE = Study(GuidelineSettings, run, report, trains=True)
