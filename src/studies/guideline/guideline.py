"""The weight decay of the edge of chaos: A from short runs, λ* = A (1 − alpha) B / (4 eta S), training that checks it.

Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), on weight decay.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from start_training.config.loggers import named_nodes
from start_training.config.mistakes import target_of
from start_training.figures.trials import draw_guideline
from start_training.order_chaos.slope import SHORTEST
from start_training.runs.job import Job
from start_training.settings import AtLeast, Fraction, NumberFromZero, checked, list_of, number_from_zero
from start_training.studies.guideline.guideline_report import report_of
from start_training.studies.guideline.guideline_runs import Check, Curve, Measured, SeedRuns
from start_training.studies.guideline.premises import PremiseFails, check_config, mean_slope
from start_training.studies.study import Results, Study, print_figures, print_lines
from start_training.studies.trials import Changes, Seeds, Trials, check_epochs, named, run_overrides

DOES_NOT_APPLY = 3  # the exit status
MOST = 300  # epochs that are trained where the config does not say how many
NAMES = {0.0: "no decay", 1.0: "λ*"}  # of factors
CLOSE = 0.1  # distance of J² from 1, that is 5% of J, up to which λ* is not corrected
PAST_THE_EDGE = 2.0  # times the epochs to the edge that a faster run is trained for
DEFAULTS = {  # of conf/weight_decay.yaml, where conf/train.yaml has others
    "model": "tanh_layer", "initializer": "phase", "readout_initializer": "glorot_uniform", "callbacks": "phase",
    "datamodule.validation": "0", "datamodule.scaling": "unit",
}  # fmt: skip
Epochs = Annotated[int, AtLeast(int(SHORTEST))]


def true_or_false(name: str, value: object) -> bool:
    """The constraint of a switch."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} = {value!r}: must be true or false")
    return value


def fit_window(name: str, value: object) -> tuple[float, float]:
    """The constraint of a window [start, end] in epochs, long enough for a slope."""
    values = list_of(name, value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    ends = [number_from_zero(name, end) for end in values]
    if len(ends) != 2 or ends[1] - ends[0] < SHORTEST:
        raise ValueError(f"{name} = {value}: must be [start, end], at least {SHORTEST:g} epochs apart")
    return ends[0], ends[1]


def speeds(name: str, value: object) -> list[float]:
    """The constraint of factors above 1, which are returned in order; null is none."""
    factors = [] if value is None or value == [] else list_of(name, value)
    if any(number_from_zero(name, factor) <= 1 for factor in factors):
        raise ValueError(f"{name} = {value}: must be numbers above 1, by which to raise eta / ((1 − alpha) B)")
    return sorted({float(factor) for factor in factors})


@checked
@dataclass(frozen=True)
class GuidelineSettings(Seeds):
    """The keys of conf/weight_decay.yaml that are not those of a run; comments there describe them."""

    measure: Epochs
    window: Annotated[tuple[float, float], fit_window] | None
    skip: Fraction
    train: Annotated[bool, true_or_false]
    epochs: Epochs | None
    factors: Sequence[NumberFromZero]
    correct: Annotated[bool, true_or_false]
    speed: Annotated[Sequence[float], speeds]

    def __post_init__(self) -> None:
        if self.window and self.window[1] > self.measure:
            raise ValueError(f"window = {[*self.window]}: must end within the {self.measure} epochs of `measure`")


def run(settings: GuidelineSettings, job: Job, config: DictConfig) -> Results:
    """Measure A, compute λ*, and train with it if `train` is set; a premise that fails is a result too."""
    check_epochs(job.config)
    targets = [target_of(node, f"callbacks.{name}") for name, node in named_nodes(job.config, "callbacks")]
    if not any(getattr(target, "table", None) == "phase" for target in targets):
        given = ", ".join(job.config["callbacks"] or ()) or "none"
        raise ValueError(f"callbacks = {given}: must hold phase, as callbacks=phase has it")
    trials = Trials(config, job.directory)
    try:
        measured = measure(settings, trials, job.config)
    except PremiseFails as reason:
        return Results({"applies": False, "reason": str(reason)})
    check = train_and_check(settings, trials, measured) if settings.train else None
    overrides = next_run(job, measured)
    text = report_of(measured, check, speeds=settings.speed, window=settings.window, overrides=overrides)
    (job.directory / "report.md").write_text(text)
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
    """λ* from the growth A of J² in short runs without weight decay. Raises PremiseFails where it does not apply."""
    descent, layer = check_config(config)
    curves = runs(settings, trials, layer.name, {"trainer.max_epochs": settings.measure})
    slope = mean_slope(curves, settings.window, skip=settings.skip)
    lambda_star = descent.lambda_star(slope.A)
    return Measured(descent, layer.name, layer.weight.shape[1], curves, slope, lambda_star)


def runs(settings: GuidelineSettings, trials: Trials, layer: str, changes: Changes) -> list[Curve]:
    """The curves of a run with each seed."""
    return [Curve.of(trials.train({**changes, "seed": seed}), layer) for seed in settings.all_seeds]


def train_and_check(settings: GuidelineSettings, trials: Trials, measured: Measured) -> Check:
    """Train with λ* and with `factors` times as much, and once more with a corrected λ*, or faster, if so set.

    The corrected one is λ' = λ* A' / A, where A' is the growth that was left under the decay λ*.
    """
    A, epochs = measured.slope.A, settings.epochs or epochs_to_settle(measured)

    def train(name: str, factor: float, A: float) -> SeedRuns:
        weight_decay = float(f"{factor * measured.weight_decay:.3g}")
        changes = {"trainer.max_epochs": epochs, "optimizer.weight_decay": weight_decay}
        curves, rate = runs(settings, trials, measured.layer, changes), measured.descent.decay_rate(weight_decay)
        return SeedRuns(name, weight_decay, curves, measured.slope.C, A, rate)

    factors = sorted({1.0, *settings.factors})
    trained = [train(NAMES.get(factor, f"{factor:g} λ*"), factor, A) for factor in factors]
    at_lambda_star, corrected = trained[factors.index(1.0)], None
    J, (A_under_decay, _) = at_lambda_star.J[0], at_lambda_star.A_under_decay
    if settings.correct and np.isfinite(A_under_decay) and A_under_decay > 0 and abs(J**2 - 1) > CLOSE:
        factor = A_under_decay / A
        corrected = train(f"{factor:.2g} λ*, corrected", factor, A_under_decay)
    in_order = sorted([*trained, *([corrected] if corrected else [])], key=lambda runs: runs.weight_decay)
    return Check(epochs, in_order, at_lambda_star, corrected, train_faster(settings, trials, measured))


def train_faster(settings: GuidelineSettings, trials: Trials, measured: Measured) -> list[tuple[float, SeedRuns]]:
    """Runs without decay, at the largest of the speeds with which the edge is `SHORTEST` epochs away or more.

    Once by a larger eta, and once by a smaller batch if B / speed is a whole number.
    """
    descent, slope = measured.descent, measured.slope
    epochs, _ = slope.epochs_to_edge
    if not (slow_enough := [speed for speed in settings.speed if epochs / speed >= SHORTEST]):
        return []
    speed = slow_enough[-1]
    until = math.ceil(max(PAST_THE_EDGE * epochs / speed, epochs / speed + SHORTEST))
    ways: dict[str, Changes] = {f"{speed:g} eta": {"optimizer.lr": float(f"{speed * descent.eta:.6g}")}}
    if (batch := descent.smaller_batch(speed)) is not None:
        ways[f"B / {speed:g}"] = {"datamodule.batch_size": batch}
    faster = []
    for name, change in ways.items():
        curves = runs(settings, trials, measured.layer, {"trainer.max_epochs": until, **change})
        faster.append((speed, SeedRuns(name, 0.0, curves, slope.C, speed * slope.A, 0.0)))
    return faster


def epochs_to_settle(measured: Measured) -> int:
    """3 / A, in which J² settles at the edge, but at most `MOST`."""
    return min(math.ceil(3 / measured.slope.A), MOST)


def next_run(job: Job, measured: Measured) -> list[str]:
    """The overrides with which the command train trains with λ*, on the job's own model and data."""
    asked = run_overrides(job)
    groups = {word.lstrip("+~").partition("=")[0] for word in asked}
    defaults = [f"{key}={value}" for key, value in DEFAULTS.items() if key not in groups]
    changes = {"optimizer.weight_decay": measured.weight_decay, "trainer.max_epochs": epochs_to_settle(measured)}
    return [*defaults, *asked, *(named(key, value) for key, value in changes.items())]


def summary_of(measured: Measured, check: Check | None) -> dict[str, Any]:
    """The numbers of the guideline, as plain data."""
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
    """Print report.md, or why the guideline does not apply; returns the exit status."""
    if not summary["applies"]:
        print_lines(f"the guideline does not apply: {summary['reason']}")
        return DOES_NOT_APPLY
    Console().print(Markdown(summary["text"]))
    print_figures(job.directory)
    return 0


GUIDELINE = Study(GuidelineSettings, run, report, trains=True)
