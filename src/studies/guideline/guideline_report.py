"""The report of the weight-decay guideline: λ*, its error, faster settings, and the result of training."""

import shlex
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from start_training.config.errors import typed
from start_training.order_chaos.slope import SHORTEST
from start_training.studies.guideline.guideline_runs import ACCURACY, LOSS, Check, Measured, SeedRuns
from start_training.studies.search import plus_minus

ABOUT = 0.05  # relative difference of A' from A that needs no explanation
FAR = 0.1  # distance of J from 1 from which on the report calls that off the edge
EARLY = 0.8  # J² below which the short runs ended well before the edge


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
    lines = [*_result(measured, window, trained=check is not None), *_faster(measured, speeds)]
    if check:
        lines += _trained(measured, check)
    lines += ["", f"Next: `{typed('train')} {shlex.join(overrides)}`"]
    return "\n".join(lines) + "\n"


def _result(measured: Measured, window: tuple[float, float] | None, *, trained: bool) -> Iterator[str]:
    slope, descent = measured.slope, measured.descent
    yield f"# optimizer.weight_decay = 2 λ* = {measured.weight_decay:.3g} ± {measured.weight_decay_error:.1g}"
    yield ""
    yield (
        f"λ* = A (1 − alpha) B / (4 eta S) = {measured.lambda_star:.3g}, with eta = {descent.eta:g}, "
        f"alpha = {descent.alpha:g}, B = {descent.batch}, S = {descent.samples}."
    )
    yield ""
    seeds = len(slope.slopes)
    between = f", seeds ± {slope.seeds:.1g}" if seeds > 1 else ", one seed"
    yield (
        f"A = {slope.A:.3g} ± {slope.error:.1g} an epoch: growth of J² of {measured.layer} (N = {measured.fan_in}) "
        f"without weight decay, epochs {_windows(measured)}, {seeds} seed{'s' * (seeds > 1)} (fit ± {slope.fit:.1g}"
        f"{between}; the slope changes by {slope.bend:+.0%} over the window; half of it, gone on with to the "
        "edge, is added)."
    )
    ends = [float(curve.rows["J2"].iloc[-1]) for curve in measured.curves]
    edges = [curve.edge for curve in measured.curves]
    if not window and np.isnan(edges).all() and np.mean(ends) < EARLY:
        yield ""
        yield f"J² came to {np.mean(ends):.2f}: with a larger `measure` the slope would be that nearer the edge."
    if not trained:
        yield ""
        yield (
            "The uncertainty is that of A. That J² grows under decay as it does without is a premise which "
            "`train=true` checks."
        )


def _windows(measured: Measured) -> str:
    starts, ends = zip(*((line.start, line.end) for line in measured.slope.slopes), strict=True)
    return " to ".join(
        f"{min(side):g}" if min(side) == max(side) else f"{min(side):g}–{max(side):g}" for side in (starts, ends)
    )


def _faster(measured: Measured, speeds: Sequence[float]) -> Iterator[str]:
    epochs, error = measured.slope.epochs_to_edge
    descent = measured.descent
    yield ""
    reached = [edge for curve in measured.curves if np.isfinite(edge := curve.edge)]
    seen = f"; measured {plus_minus(float(np.mean(reached)), np.nan)}" if reached else ""
    yield f"Without weight decay the edge is reached in epoch {plus_minus(epochs, error)}, where A t + C = 1{seen}."
    if not speeds:
        return
    yield ""
    yield "| eta / ((1 − alpha) B) | by optimizer.lr | or by datamodule.batch_size | epochs to the edge | saved |"
    yield "|---|---|---|---|---|"
    for speed in speeds:
        smaller = descent.smaller_batch(speed) or "—"
        few = " (too few to fit a slope)" if epochs / speed < SHORTEST else ""
        yield (
            f"| × {speed:g} | {descent.eta * speed:g} | {smaller} | {epochs / speed:.3g}{few} | "
            f"{epochs - epochs / speed:.3g} |"
        )
    yield ""
    yield (
        "A larger eta saves steps as well, a smaller batch epochs alone. The law is one of small steps in the ordered "
        "phase: past the edge the scaling breaks, so stop there or let λ* hold J."
    )


def _trained(measured: Measured, check: Check) -> Iterator[str]:
    A = measured.slope.A
    yield ""
    yield f"## Trained for {check.epochs} epochs"
    if check.epochs < 3 / A:
        yield ""
        yield f"That is less than the 3/A = {3 / A:.0f} that J² needs."
    yield ""
    yield "| | weight decay | J at the end | test loss at the end | lowest | in epoch | accuracy at the end, % |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_row(trained) for trained in check.runs)
    yield ""
    seeds = len(measured.curves)
    of_seeds = f"Mean over {seeds} seeds ± standard error" if seeds > 1 else "One seed"
    yield f"{of_seeds}; J over the last quarter of the epochs."
    yield ""
    yield from _settled(A, check)
    yield from _compared(check)
    yield from _faster_runs(check, measured.slope.epochs_to_edge[0])


def _row(trained: SeedRuns) -> str:
    row = trained.row()
    loss, lowest, epoch = (_mean(row, name) for name in (LOSS, "lowest loss", "lowest epoch"))
    percent = {ACCURACY: 100 * row[ACCURACY], f"{ACCURACY} s.e.": 100 * row[f"{ACCURACY} s.e."]}
    accuracy = _mean(percent, ACCURACY)
    J = _mean(row, "J") + (" (still moving)" if row["moving"] else "")
    if row["diverged"]:
        J += f" ({row['diverged']} diverged)"
    return f"| {trained.name} | {trained.weight_decay:.3g} | {J} | {loss} | {lowest} | {epoch} | {accuracy} |"


def _mean(row: Mapping[str, float], name: str) -> str:
    """A column of a row with its standard error; a dash for NaN."""
    return "—" if np.isnan(row[name]) else plus_minus(row[name], row[f"{name} s.e."])


def _settled(A: float, check: Check) -> Iterator[str]:
    trained = check.at_lambda_star
    if not trained.completed:
        yield "With λ* every run diverged."
        return
    J, error = trained.J
    A_under_decay, A_error = trained.A_under_decay
    moving = "and is still moving" if trained.moving else "and stays"
    where = "off the edge" if abs(J - 1) > FAR else "at the edge"
    yield f"With λ* J came to {plus_minus(J, error)}, {where}, {moving}."
    ratio = A_under_decay / A
    yield ""
    yield (
        f"Under this decay J² grew by A' = dJ²/dt + A J² = {plus_minus(A_under_decay, A_error)} an epoch at the end, "
        f"{ratio:.2f} times A, where the guideline takes 1{_reason(ratio)}."
    )
    if corrected := check.corrected:
        yield ""
        yield (
            f"With A' in place of A the weight decay is {corrected.weight_decay:.3g}; J came to "
            f"{plus_minus(*corrected.J)}{', still moving' if corrected.moving else ''}."
        )


def _reason(ratio: float) -> str:
    if abs(ratio - 1) <= ABOUT:
        return ""
    if ratio > 1:
        return ": what decay takes the gradient gives back in part, and the more the longer it goes on"
    return ": J² had grown faster when A was measured than it does late in a run"


def _compared(check: Check) -> Iterator[str]:
    """The test loss with λ* against that with every other weight decay."""
    yield ""
    for trained in check.runs:
        if trained is not check.at_lambda_star:
            end, lowest = (_difference(check.at_lambda_star, trained, name) for name in (LOSS, "lowest loss"))
            yield f"- test loss of λ* against {trained.name}: {end} at the end, {lowest} at its lowest"


def _difference(one: SeedRuns, other: SeedRuns, name: str) -> str:
    row, its_row = one.row(), other.row()
    difference = row[name] - its_row[name]
    error = float(np.hypot(row[f"{name} s.e."], its_row[f"{name} s.e."]))
    if np.isnan(error):
        return f"{difference:+.4f}"
    told = " (within two standard errors of none)" if abs(difference) <= 2 * error else ""
    return f"{difference:+.4f} ± {error:.1g}{told}"


def _faster_runs(check: Check, epochs_to_edge: float) -> Iterator[str]:
    slow = next((trained for trained in check.runs if trained.weight_decay == 0), None)
    for speed, trained in check.faster:
        row, predicted = trained.row(), epochs_to_edge / speed
        reached = _mean(row, "edge epoch") if np.isfinite(row["edge epoch"]) else "not in every run"
        lowest, epoch, J = (_mean(row, f"lowest {name}") for name in ("loss", "epoch", "J"))
        yield ""
        yield (
            f"Trained with {trained.name} and no decay for {len(trained.curves[0].rows) - 1} epochs: the edge reached "
            f"in epoch {reached}, predicted {predicted:.3g}; lowest test loss {lowest} in epoch {epoch} at J = {J}."
        )
    if check.faster and slow:
        row = slow.row()
        lowest, epoch, J = (_mean(row, f"lowest {name}") for name in ("loss", "epoch", "J"))
        yield ""
        yield f"At the config's own eta and B: {lowest} in epoch {epoch} at J = {J}."
