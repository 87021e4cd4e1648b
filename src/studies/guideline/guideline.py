"""The weight-decay guideline: from a job to λ*, and to what training with it comes to."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from start_training.config.composed import check_depth
from start_training.figures.save import save_figure
from start_training.figures.trials import draw_guideline
from start_training.order_chaos.guideline import Growth
from start_training.order_chaos.slope import BEND, SHORTEST, Slope, fit_slope, ordered_window
from start_training.reports import run_report
from start_training.reports.sweep_figure import mirror_figure
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.studies.guideline.found import Found
from start_training.studies.guideline.plan import Plan
from start_training.studies.guideline.premises import PremiseFails, check_premises
from start_training.studies.guideline.report import report_of
from start_training.studies.guideline.runs import Curve, Trained
from start_training.studies.study import study
from start_training.studies.trials import OF_A_RUN, Changes, Trials, named

DOES_NOT_APPLY = 3  # the exit status
MOST = 300  # epochs that are trained where the config does not say how many
NAMES = {0.0: "no decay", 1.0: "λ*"}  # of factors
CLOSE = 0.1  # of J² from 1, that is 5% of J, which needs no correction
PAST_THE_EDGE = 2.0  # times the epochs to the edge that a faster run is trained for


def guideline(job: Job, config: DictConfig) -> dict[str, Any]:
    """Measure A, say λ*, and check it where `train` asks for it, as far as an earlier call has not; the summary.

    `config` is the job's before its interpolations were resolved, as runs differ in what is interpolated.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), on weight decay.
    Directory: runs/ (a run directory each), report.md, config.yaml and summary.json, written last; trained also
    options.csv, epochs.parquet, figures/weight_decay.png and .pdf. A signal leaves what has been trained, to go on
    from. Where a premise fails the summary's `applies` is false, and `reason` says which.
    Raises ValueError for a setting that cannot be used, or a directory that holds something else.
    """
    with study(job) as run:
        if run.finished:
            return run.summary() or {}
        began = time.monotonic()
        try:
            found = find(Trials(config, run.path), Plan.of(job.config), job.config)
            said = summary_of(found, again(job, found))
            leave(job, run, found, said["text"])
        except PremiseFails as reason:
            said = {"applies": False, "reason": str(reason)}
        summary = {"status": "completed", **said, "seconds": round(time.monotonic() - began, 3), **job.origin}
        run.write_summary(summary)
    return summary


def find(trials: Trials, plan: Plan, config: Mapping[str, Any]) -> Found:
    """Measure, and train where the plan says so. Raises PremiseFails."""
    descent, layer = check_premises(config)
    measured = [
        Curve.of(trials.train({"trainer.max_epochs": plan.measure, "seed": seed}), layer.name) for seed in plan.seeds
    ]
    found = Found(plan, descent, layer.name, layer.weight.shape[1], growth_of(measured, plan), measured)
    if plan.train:
        found.epochs = plan.epochs or min(math.ceil(3 / found.growth.A), MOST)
        for factor in plan.factors:
            name = NAMES.get(factor, f"{factor:g} λ*")
            found.trained.append(train(trials, found, name, factor))
        correct(trials, found)
        go_faster(trials, found)
    return found


def growth_of(measured: list[Curve], plan: Plan) -> Growth:
    """A, of all short runs. Raises PremiseFails where their J² has no slope that is a slope."""
    growth = Growth([slope_of(curve, plan) for curve in measured])
    if not growth.positive:
        raise PremiseFails(
            f"A = {growth.A:.3g} ± {growth.statistical:.2g} an epoch: not above 0 within its error and with every "
            "seed, so that J² does not grow toward the edge"
        )
    if not growth.linear:
        raise PremiseFails(
            f"A = {growth.A:.3g} an epoch: J² is not linear, its slope changes by {growth.bend:+.0%} over epochs "
            f"{growth.slopes[0].start:g} to {growth.slopes[0].end:g}; a later window or a longer run (window, measure) "
            "may find it so"
        )
    if plan.window is None and abs(growth.bend_at_edge) > BEND:  # who states a window has the error to go by
        raise PremiseFails(
            f"A = {growth.A:.3g} an epoch: still changes; going on like this the slope would differ by "
            f"{growth.bend_at_edge:+.0%} at the edge, epoch {growth.epochs_to_edge[0]:.3g} by this line; a longer run "
            "(measure) comes nearer to it"
        )
    return growth


def slope_of(curve: Curve, plan: Plan) -> Slope:
    """Of one short run. Raises PremiseFails where it leaves the ordered phase before a slope can be told."""
    seed = curve.trial.summary["seed"]
    if not curve.completed:
        raise PremiseFails(f"seed {seed}: the run without weight decay diverged ({curve.trial.summary['reason']})")
    epochs, J2 = curve.rows["epoch"].to_numpy(), curve.rows["J2"].to_numpy()
    if J2[0] >= 1:
        raise PremiseFails(f"seed {seed}: J² = {J2[0]:.3g} at initialization, already in the chaotic phase")
    window = plan.window or ordered_window(epochs, J2, skip=plan.skip)
    if (edge := curve.edge) <= window[1]:
        raise PremiseFails(f"seed {seed}: J² reaches 1 in epoch {edge:.1f}, within the window; the law is that below 1")
    if window[1] - window[0] < SHORTEST:
        raise PremiseFails(
            f"seed {seed}: J² reaches 1 in epoch {edge:.1f}, and a slope needs {SHORTEST:g} whole epochs before; "
            "lower eta / ((1 − alpha) B)"
        )
    return fit_slope(epochs, J2, window=window)


def train(trials: Trials, found: Found, name: str, factor: float, *, growth: float | None = None) -> Trained:
    """With λ* times a factor, all seeds; `growth` is what is expected there, A where it is not said."""
    weight_decay = float(f"{factor * found.weight_decay:.3g}")
    changes = {"trainer.max_epochs": found.epochs, "optimizer.weight_decay": weight_decay}
    A, rate = found.growth.A if growth is None else growth, found.descent.rate(weight_decay / 2)
    return Trained(name, weight_decay, runs(trials, found, changes), found.growth.C, A, rate)


def runs(trials: Trials, found: Found, changes: Changes) -> list[Curve]:
    """A run for each seed."""
    return [Curve.of(trials.train({**changes, "seed": seed}), found.layer) for seed in found.plan.seeds]


def correct(trials: Trials, found: Found) -> None:
    """Train with λ' = λ* A' / A, where J² of λ* does not end near 1: A' is the growth that was left under decay."""
    J, (growth, _) = found.at_edge.settled[0], found.at_edge.growth
    if found.plan.correct and np.isfinite(growth) and growth > 0 and abs(J**2 - 1) > CLOSE:
        factor = growth / found.growth.A
        found.corrected = train(trials, found, f"{factor:.2g} λ*, corrected", factor, growth=growth)


def go_faster(trials: Trials, found: Found) -> None:
    """Without decay, at the largest of the speeds with which the edge is `SHORTEST` epochs away or more.

    Once by a larger eta, once by a smaller batch, where B has such a part.
    """
    epochs, _ = found.growth.epochs_to_edge
    if not (slow_enough := [speed for speed in found.plan.speed if epochs / speed >= SHORTEST]):
        return
    speed, growth, batch = slow_enough[-1], found.growth, found.descent.smaller(slow_enough[-1])
    until = math.ceil(max(PAST_THE_EDGE * epochs / speed, epochs / speed + SHORTEST))
    ways: dict[str, Changes] = {f"{speed:g} eta": {"optimizer.lr": float(f"{speed * found.descent.eta:.6g}")}}
    if batch is not None:
        ways[f"B / {speed:g}"] = {"datamodule.batch_size": batch}
    for name, change in ways.items():
        curves = runs(trials, found, {"trainer.max_epochs": until, **change})
        found.faster.append((speed, Trained(name, 0.0, curves, growth.C, speed * growth.A, 0.0)))


def again(job: Job, found: Found) -> list[str]:
    """The overrides with which scripts/train.py trains with λ*, on the job's own model and data."""
    asked = [each for each in job.overrides if each.lstrip("+~").split("=")[0].split(".")[0] in OF_A_RUN]
    groups = {each.lstrip("+~").partition("=")[0] for each in asked}
    own = {"model": "tanh_layer", "initializer": "phase", "readout_initializer": "glorot_uniform", "callbacks": "phase"}
    own |= {"datamodule.validation": "0", "datamodule.scaling": "unit"}
    defaults = [f"{key}={value}" for key, value in own.items() if key not in groups]
    changes = {
        "optimizer.weight_decay": found.weight_decay,
        "trainer.max_epochs": min(math.ceil(3 / found.growth.A), MOST),
    }
    return [*defaults, *asked, *(named(key, value) for key, value in changes.items())]


def summary_of(found: Found, overrides: list[str]) -> dict[str, Any]:
    """Everything that was found, as plain data."""
    growth, descent = found.growth, found.descent
    return {
        "applies": True,
        "layer": found.layer,
        "fan_in": found.fan_in,
        **{name: getattr(descent, name) for name in ("eta", "alpha", "batch", "samples")},
        **{name: getattr(growth, name) for name in ("A", "C", "error", "fit", "seeds", "bend")},
        "windows": [[slope.start, slope.end] for slope in growth.slopes],
        "lambda": found.decay,
        "weight_decay": found.weight_decay,
        "weight_decay_error": found.error,
        "epochs_to_edge": growth.epochs_to_edge[0],
        "measured_epochs_to_edge": [curve.edge for curve in found.measured],
        "training": [trained.row() for trained in found.all],
        "growth_under_decay": found.at_edge.growth[0] if found.trained else None,
        "faster": [{"speed": speed, **trained.row()} for speed, trained in found.faster],
        "overrides_of_next_run": overrides,
        "text": report_of(found, overrides),
    }


def leave(job: Job, run: RunDirectory, found: Found, text: str) -> None:
    """Report, and of what was trained tables and figure; W&B gets figure and table."""
    (run.path / "report.md").write_text(text)
    if not found.trained:
        return
    options = pd.DataFrame([trained.row() for trained in found.all])
    options.to_csv(run.path / "options.csv", index=False)
    curves = pd.concat([trained.table() for trained in found.all], ignore_index=True)
    curves.to_parquet(run.path / "epochs.parquet", index=False)
    predicted = pd.concat([trained.predicted() for trained in found.all], ignore_index=True)
    title = f"Weight decay 2 λ* = {found.weight_decay:.3g}, from {found.plan.measure} epochs without any"
    figure = draw_guideline(curves, predicted, options, title=title)
    files = save_figure(figure, run.path / "figures" / "weight_decay")
    mirror_figure(job.config, run.path, "weight_decay", files[0], {"options": options}, text=text)


def guideline_job(job: Job, config: DictConfig) -> int:
    """Follow the guideline and show its report; 0 where there is a λ*, `DOES_NOT_APPLY` where there is none."""
    check_depth(job.config)
    summary, console = guideline(job, config), Console()
    if not summary["applies"]:
        text = f"the guideline does not apply: {summary['reason']}"
        console.print(text, soft_wrap=True, highlight=False, markup=False)
        return DOES_NOT_APPLY
    console.print(Markdown(summary["text"]))
    if (figure := job.directory / "figures" / "weight_decay.png").exists():
        console.print(f"figure: {run_report.relative(figure)}", soft_wrap=True)
    return 0
