"""The Markdown report of the weight-decay guideline: the weight decay λ*, its error, faster settings, training runs."""

import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from start_training.config.errors import shell_command
from start_training.order_chaos.slope import MIN_WINDOW
from start_training.studies.guideline.guideline_runs import ACCURACY, LOSS, Check, Measured, SeedRuns
from start_training.studies.search import plus_minus

GROWTH_TOLERANCE = 0.05  # the report explains a relative difference between A' and A only if it is larger than this
J_TOLERANCE = 0.1  # the report calls J off the edge if it is farther from 1 than this
WELL_BELOW_EDGE = 0.8  # the report recommends longer short runs if their J² ended below this
PREMISE = (
    "The uncertainty of the weight decay comes from that of A. The guideline assumes that training adds as much to J² "
    "with weight decay as without; `train=true` checks this."
)


def report_of(
    measured: Measured,
    check: Check | None,
    *,
    speeds: Sequence[float],
    window: tuple[float, float] | None,
    overrides: Sequence[str],
) -> str:
    """Write the report of the weight-decay guideline in Markdown.

    Args:
        measured: The recommended weight decay λ* and the measurements it was computed from.
        check: The training runs that check λ*; None if there were none.
        speeds: Factors by which eta / ((1 − alpha) B) is raised in the table of faster settings.
        window: Start and end of the fit in epochs, if the user chose them.
        overrides: The overrides with which the command train trains with λ*.
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
        f"A = {slope.A:.3g} ± {slope.error:.1g} per epoch: growth of J² = N · Var W of {measured.layer} "
        f"(N = {measured.fan_in}) without weight decay, epochs {_windows(measured)}, {seeds} seed{'s' * (seeds > 1)}. "
        f"Its error combines fit ± {slope.fit:.1g}{between}, and half the change of the slope up to the edge; over the "
        f"window the slope changes by {slope.bend:+.0%}.",
    ]
    end = np.mean([float(curve.rows["J2"].iloc[-1]) for curve in measured.curves])
    if not window and np.isnan([curve.edge for curve in measured.curves]).all() and end < WELL_BELOW_EDGE:
        blocks.append(
            f"J² reached only {end:.2f} in the short runs; a larger `measure` would give the slope closer to the edge."
        )
    return blocks


def _windows(measured: Measured) -> str:
    starts, ends = zip(*((line.start, line.end) for line in measured.slope.slopes), strict=True)
    return " to ".join(
        f"{min(side):g}" if min(side) == max(side) else f"{min(side):g}–{max(side):g}" for side in (starts, ends)
    )


def _faster(measured: Measured, speeds: Sequence[float]) -> list[str]:
    epochs, error = measured.slope.epochs_to_edge
    reached = [edge for curve in measured.curves if np.isfinite(edge := curve.edge)]
    observed = f"; measured: {plus_minus(float(np.mean(reached)), np.nan)}" if reached else ""
    at_edge = f"Without weight decay J² reaches 1 in epoch {plus_minus(epochs, error)}, where A t + C = 1{observed}."
    if not speeds:
        return [at_edge]
    rows = [
        "| eta / ((1 − alpha) B) | by optimizer.lr | or by batch_size | epochs to the edge | saved |",
        "|---|---|---|---|---|",
    ]
    for speed in speeds:
        smaller = measured.descent.smaller_batch(speed) or "—"
        few = " (too few to fit a slope)" if epochs / speed < MIN_WINDOW else ""
        rows.append(
            f"| × {speed:g} | {measured.descent.eta * speed:g} | {smaller} | {epochs / speed:.3g}{few} | "
            f"{epochs - epochs / speed:.3g} |"
        )
    advice = (
        "A larger eta saves epochs and steps, a smaller batch only epochs. The scaling law holds for small steps in "
        "the ordered phase; it breaks past the edge, so stop there, or use λ* to hold J at the edge."
    )
    return [at_edge, "\n".join(rows), advice]


def _trained(measured: Measured, check: Check) -> list[str]:
    A, seeds = measured.slope.A, len(measured.curves)
    short = f"J² needs 3/A = {3 / A:.0f} epochs to settle, more than were trained." if check.epochs < 3 / A else ""
    rows = [
        "| | weight decay | final J | final test loss | lowest test loss | in epoch | final test accuracy, % |",
        "|---|---|---|---|---|---|---|",
        *map(_row, check.runs),
    ]
    sample = f"Mean over {seeds} seeds ± standard error" if seeds > 1 else "One seed"
    note = f"{sample}; J is measured over the last quarter of the epochs."
    return [f"## Training for {check.epochs} epochs", short, "\n".join(rows), note]


def _row(trained: SeedRuns) -> str:
    row = trained.row()
    loss, lowest, epoch = (_mean(row, name) for name in (LOSS, "lowest loss", "lowest epoch"))
    percent = {ACCURACY: 100 * row[ACCURACY], f"{ACCURACY} s.e.": 100 * row[f"{ACCURACY} s.e."]}
    J = _mean(row, "J") + (" (still changing)" if row["moving"] else "")
    if row["diverged"]:
        J += f" ({row['diverged']} diverged)"
    accuracy = _mean(percent, ACCURACY)
    return f"| {trained.name} | {trained.weight_decay:.3g} | {J} | {loss} | {lowest} | {epoch} | {accuracy} |"


def _mean(row: Mapping[str, float], name: str) -> str:
    """Format the column `name` of a row of options.csv with its standard error, or a dash if it is NaN."""
    return "—" if np.isnan(row[name]) else plus_minus(row[name], row[f"{name} s.e."])


def _settled(A: float, check: Check) -> list[str]:
    trained, corrected = check.at_lambda_star, check.corrected
    if not trained.completed:
        return ["With λ* every run diverged."]
    J, (A_under_decay, A_error) = trained.J, trained.A_under_decay
    moving = "and is still changing" if trained.moving else "and has settled"
    where = "off the edge" if abs(J[0] - 1) > J_TOLERANCE else "at the edge"
    blocks = [
        f"With λ*, J ended at {plus_minus(*J)}, {where}, {moving}.",
        f"Under this weight decay, training added A' = dJ²/dt + A J² = {plus_minus(A_under_decay, A_error)} per epoch "
        f"to J² at the end. That is {A_under_decay / A:.2f} times A; the guideline assumes 1"
        f"{_reason(A_under_decay / A)}.",
    ]
    if corrected:
        blocks.append(
            f"With A' in place of A the weight decay is {corrected.weight_decay:.3g}; J ended at "
            f"{plus_minus(*corrected.J)}{', still changing' if corrected.moving else ''}."
        )
    return blocks


def _reason(ratio: float) -> str:
    if abs(ratio - 1) <= GROWTH_TOLERANCE:
        return ""
    if ratio > 1:
        return ": the gradient restores part of what weight decay removes, increasingly so as training continues"
    return ": J² grew faster early in training, when A was measured, than it does late in a run"


def _compared(check: Check) -> str:
    """Return Markdown lines: the test loss with the recommended weight decay minus that with each other one."""
    lines = []
    for trained in check.runs:
        if trained is not check.at_lambda_star:
            end, lowest = (_difference(check.at_lambda_star, trained, name) for name in (LOSS, "lowest loss"))
            lines.append(f"- test loss of λ* minus that of {trained.name}: {end} at the end, {lowest} at the lowest")
    return "\n".join(lines)


def _difference(one: SeedRuns, other: SeedRuns, name: str) -> str:
    row, other_row = one.row(), other.row()
    difference = row[name] - other_row[name]
    error = float(np.hypot(row[f"{name} s.e."], other_row[f"{name} s.e."]))
    if np.isnan(error):
        return f"{difference:+.4f}"
    note = " (not significant: within two standard errors of 0)" if abs(difference) <= 2 * error else ""
    return f"{difference:+.4f} ± {error:.1g}{note}"


def _faster_runs(check: Check, epochs_to_edge: float) -> list[str]:
    blocks = []
    for speed, trained in check.faster:
        row, predicted = trained.row(), epochs_to_edge / speed
        in_epoch = f"in epoch {_mean(row, 'edge epoch')}" if np.isfinite(row["edge epoch"]) else "but not in every run"
        blocks.append(
            f"Training with {trained.name} and without weight decay for {len(trained.curves[0].rows) - 1} epochs: J² "
            f"reached the edge {in_epoch} (predicted: {predicted:.3g}); lowest test loss {_lowest(row)}."
        )
    for trained in check.runs:
        if check.faster and trained.weight_decay == 0:
            blocks.append(f"With the eta and B of the config: lowest test loss {_lowest(trained.row())}.")
    return blocks


def _lowest(row: Mapping[str, float]) -> str:
    """Format the lowest test loss in a row of options.csv, with its epoch and J."""
    loss, epoch, J = (_mean(row, f"lowest {name}") for name in ("loss", "epoch", "J"))
    return f"{loss} in epoch {epoch} at J = {J}"
