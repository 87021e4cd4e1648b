"""The report of the weight-decay guideline: λ*, its error, faster settings, and the result of training."""

import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from start_training.config.errors import shell_command
from start_training.order_chaos.slope import SHORTEST
from start_training.studies.guideline.guideline_runs import ACCURACY, LOSS, Check, Measured, SeedRuns
from start_training.studies.search import plus_minus

ABOUT = 0.05  # relative difference of A' from A that needs no explanation
FAR = 0.1  # distance of J from 1 from which on the report calls that off the edge
EARLY = 0.8  # J² below which the short runs ended well before the edge
PREMISE = (
    "The uncertainty is that of A. That J² grows under decay as it does without is a premise which `train=true` checks."
)


def report_of(
    measured: Measured,
    check: Check | None,
    *,
    speeds: Sequence[float],
    window: tuple[float, float] | None,
    overrides: Sequence[str],
) -> str:
    """The report in Markdown.

    Args:
        measured: λ* and what it was computed from.
        check: Training that checks it, if there was any.
        speeds: Factors on eta / ((1 − alpha) B), for the table of faster settings.
        window: Epochs of the fit, if the user chose them.
        overrides: Those with which the command train trains with λ*.
    """
    blocks = [*_result(measured, window), *([] if check else [PREMISE]), *_faster(measured, speeds)]
    if check:
        blocks += [*_trained(measured, check), *_settled(measured.slope.A, check), _compared(check)]
        blocks += _faster_runs(check, measured.slope.epochs_to_edge[0])
    blocks.append(f"Next: `{shell_command('train')} {shlex.join(overrides)}`")
    return "\n\n".join(block for block in blocks if block) + "\n"


def _result(measured: Measured, window: tuple[float, float] | None) -> list[str]:
    slope, descent, seeds = measured.slope, measured.descent, len(measured.curves)
    between = f", seeds ± {slope.seeds:.1g}" if seeds > 1 else ", one seed"
    blocks = [
        f"# optimizer.weight_decay = 2 λ* = {measured.weight_decay:.3g} ± {measured.weight_decay_error:.1g}",
        f"λ* = A (1 − alpha) B / (4 eta S) = {measured.lambda_star:.3g}, with eta = {descent.eta:g}, "
        f"alpha = {descent.alpha:g}, B = {descent.batch}, S = {descent.samples}.",
        f"A = {slope.A:.3g} ± {slope.error:.1g} an epoch: growth of J² of {measured.layer} (N = {measured.fan_in}) "
        f"without weight decay, epochs {_windows(measured)}, {seeds} seed{'s' * (seeds > 1)} (fit ± {slope.fit:.1g}"
        f"{between}; the slope changes by {slope.bend:+.0%} over the window; half of it, gone on with to the "
        "edge, is added).",
    ]
    end = np.mean([float(curve.rows["J2"].iloc[-1]) for curve in measured.curves])
    if not window and np.isnan([curve.edge for curve in measured.curves]).all() and end < EARLY:
        blocks.append(f"J² came to {end:.2f}: with a larger `measure` the slope would be that nearer the edge.")
    return blocks


def _windows(measured: Measured) -> str:
    starts, ends = zip(*((line.start, line.end) for line in measured.slope.slopes), strict=True)
    return " to ".join(
        f"{min(side):g}" if min(side) == max(side) else f"{min(side):g}–{max(side):g}" for side in (starts, ends)
    )


def _faster(measured: Measured, speeds: Sequence[float]) -> list[str]:
    epochs, error = measured.slope.epochs_to_edge
    reached = [edge for curve in measured.curves if np.isfinite(edge := curve.edge)]
    seen = f"; measured {plus_minus(float(np.mean(reached)), np.nan)}" if reached else ""
    at_edge = f"Without weight decay the edge is reached in epoch {plus_minus(epochs, error)}, where A t + C = 1{seen}."
    if not speeds:
        return [at_edge]
    rows = [
        "| eta / ((1 − alpha) B) | by optimizer.lr | or by datamodule.batch_size | epochs to the edge | saved |",
        "|---|---|---|---|---|",
    ]
    for speed in speeds:
        smaller = measured.descent.smaller_batch(speed) or "—"
        few = " (too few to fit a slope)" if epochs / speed < SHORTEST else ""
        rows.append(
            f"| × {speed:g} | {measured.descent.eta * speed:g} | {smaller} | {epochs / speed:.3g}{few} | "
            f"{epochs - epochs / speed:.3g} |"
        )
    advice = (
        "A larger eta saves steps as well, a smaller batch epochs alone. The law is one of small steps in the ordered "
        "phase: past the edge the scaling breaks, so stop there or let λ* hold J."
    )
    return [at_edge, "\n".join(rows), advice]


def _trained(measured: Measured, check: Check) -> list[str]:
    A, seeds = measured.slope.A, len(measured.curves)
    short = f"That is less than the 3/A = {3 / A:.0f} that J² needs." if check.epochs < 3 / A else ""
    rows = [
        "| | weight decay | J at the end | test loss at the end | lowest | in epoch | accuracy at the end, % |",
        "|---|---|---|---|---|---|---|",
        *map(_row, check.runs),
    ]
    of_seeds = f"Mean over {seeds} seeds ± standard error" if seeds > 1 else "One seed"
    J = f"{of_seeds}; J over the last quarter of the epochs."
    return [f"## Trained for {check.epochs} epochs", short, "\n".join(rows), J]


def _row(trained: SeedRuns) -> str:
    row = trained.row()
    loss, lowest, epoch = (_mean(row, name) for name in (LOSS, "lowest loss", "lowest epoch"))
    percent = {ACCURACY: 100 * row[ACCURACY], f"{ACCURACY} s.e.": 100 * row[f"{ACCURACY} s.e."]}
    J = _mean(row, "J") + (" (still moving)" if row["moving"] else "")
    if row["diverged"]:
        J += f" ({row['diverged']} diverged)"
    accuracy = _mean(percent, ACCURACY)
    return f"| {trained.name} | {trained.weight_decay:.3g} | {J} | {loss} | {lowest} | {epoch} | {accuracy} |"


def _mean(row: Mapping[str, float], name: str) -> str:
    """A column of a row with its standard error; a dash for NaN."""
    return "—" if np.isnan(row[name]) else plus_minus(row[name], row[f"{name} s.e."])


def _settled(A: float, check: Check) -> list[str]:
    trained, corrected = check.at_lambda_star, check.corrected
    if not trained.completed:
        return ["With λ* every run diverged."]
    J, (A_under_decay, A_error) = trained.J, trained.A_under_decay
    moving = "and is still moving" if trained.moving else "and stays"
    where = "off the edge" if abs(J[0] - 1) > FAR else "at the edge"
    blocks = [
        f"With λ* J came to {plus_minus(*J)}, {where}, {moving}.",
        f"Under this decay J² grew by A' = dJ²/dt + A J² = {plus_minus(A_under_decay, A_error)} an epoch at the end, "
        f"{A_under_decay / A:.2f} times A, where the guideline takes 1{_reason(A_under_decay / A)}.",
    ]
    if corrected:
        blocks.append(
            f"With A' in place of A the weight decay is {corrected.weight_decay:.3g}; J came to "
            f"{plus_minus(*corrected.J)}{', still moving' if corrected.moving else ''}."
        )
    return blocks


def _reason(ratio: float) -> str:
    if abs(ratio - 1) <= ABOUT:
        return ""
    if ratio > 1:
        return ": what decay takes the gradient gives back in part, and the more the longer it goes on"
    return ": J² had grown faster when A was measured than it does late in a run"


def _compared(check: Check) -> str:
    """The test loss with λ* against that with every other weight decay."""
    lines = []
    for trained in check.runs:
        if trained is not check.at_lambda_star:
            end, lowest = (_difference(check.at_lambda_star, trained, name) for name in (LOSS, "lowest loss"))
            lines.append(f"- test loss of λ* against {trained.name}: {end} at the end, {lowest} at its lowest")
    return "\n".join(lines)


def _difference(one: SeedRuns, other: SeedRuns, name: str) -> str:
    row, its_row = one.row(), other.row()
    difference = row[name] - its_row[name]
    error = float(np.hypot(row[f"{name} s.e."], its_row[f"{name} s.e."]))
    if np.isnan(error):
        return f"{difference:+.4f}"
    told = " (within two standard errors of none)" if abs(difference) <= 2 * error else ""
    return f"{difference:+.4f} ± {error:.1g}{told}"


def _faster_runs(check: Check, epochs_to_edge: float) -> list[str]:
    blocks = []
    for speed, trained in check.faster:
        row, predicted = trained.row(), epochs_to_edge / speed
        reached = _mean(row, "edge epoch") if np.isfinite(row["edge epoch"]) else "not in every run"
        blocks.append(
            f"Trained with {trained.name} and no decay for {len(trained.curves[0].rows) - 1} epochs: the edge reached "
            f"in epoch {reached}, predicted {predicted:.3g}; lowest test loss {_lowest(row)}."
        )
    for trained in check.runs:
        if check.faster and trained.weight_decay == 0:
            blocks.append(f"At the config's own eta and B: {_lowest(trained.row())}.")
    return blocks


def _lowest(row: Mapping[str, float]) -> str:
    """The lowest test loss of a row, and where it was."""
    loss, epoch, J = (_mean(row, f"lowest {name}") for name in ("loss", "epoch", "J"))
    return f"{loss} in epoch {epoch} at J = {J}"
