"""What the weight-decay guideline says, in Markdown: λ*, how sure it is, faster settings, and what training showed."""

import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from start_training.config.errors import typed
from start_training.order_chaos.slope import SHORTEST
from start_training.studies.guideline.found import Found
from start_training.studies.guideline.runs import ACCURACY, LOSS, Trained
from start_training.studies.search import plus_minus

ABOUT = 0.05  # of A
FAR = 0.1  # of J from 1 where the report calls that off the edge
EARLY = 0.8  # of J², where the short runs end well before the edge


def report_of(found: Found, overrides: Sequence[str]) -> str:
    """`overrides` train with λ*."""
    lines = [*_result(found), *_faster(found)]
    if found.trained:
        lines += _trained(found)
    lines += ["", f"Next: `{typed('train')} {shlex.join(overrides)}`"]
    return "\n".join(lines) + "\n"


def _result(found: Found) -> Iterator[str]:
    growth, descent = found.growth, found.descent
    yield f"# optimizer.weight_decay = 2 λ* = {found.weight_decay:.3g} ± {found.error:.1g}"
    yield ""
    yield (
        f"λ* = A (1 − alpha) B / (4 eta S) = {found.decay:.3g}, with eta = {descent.eta:g}, alpha = {descent.alpha:g}, "
        f"B = {descent.batch}, S = {descent.samples}."
    )
    yield ""
    seeds = len(growth.slopes)
    between = f", seeds ± {growth.seeds:.1g}" if seeds > 1 else ", one seed"
    yield (
        f"A = {growth.A:.3g} ± {growth.error:.1g} an epoch: growth of J² of {found.layer} (N = {found.fan_in}) without "
        f"weight decay, epochs {_windows(found)}, {seeds} seed{'s' * (seeds > 1)} (fit ± {growth.fit:.1g}{between}; "
        f"the slope changes by {growth.bend:+.0%} over the window; half of it, gone on with to the edge, is added)."
    )
    ends = [float(curve.rows["J2"].iloc[-1]) for curve in found.measured]
    edges = [curve.edge for curve in found.measured]
    if not found.plan.window and np.isnan(edges).all() and np.mean(ends) < EARLY:
        yield ""
        yield f"J² came to {np.mean(ends):.2f}: with a larger `measure` the slope would be that nearer the edge."
    if not found.trained:
        yield ""
        yield (
            "The uncertainty is that of A. That J² grows under decay as it does without is a premise which "
            "`train=true` checks."
        )


def _windows(found: Found) -> str:
    starts, ends = zip(*((slope.start, slope.end) for slope in found.growth.slopes), strict=True)
    return " to ".join(
        f"{min(each):g}" if min(each) == max(each) else f"{min(each):g}–{max(each):g}" for each in (starts, ends)
    )


def _faster(found: Found) -> Iterator[str]:
    epochs, error = found.growth.epochs_to_edge
    descent = found.descent
    yield ""
    reached = [edge for curve in found.measured if np.isfinite(edge := curve.edge)]
    measured = f"; measured {plus_minus(float(np.mean(reached)), np.nan)}" if reached else ""
    yield f"Without weight decay the edge is reached in epoch {plus_minus(epochs, error)}, where A t + C = 1{measured}."
    if not found.plan.speed:
        return
    yield ""
    yield "| eta / ((1 − alpha) B) | by optimizer.lr | or by datamodule.batch_size | epochs to the edge | saved |"
    yield "|---|---|---|---|---|"
    for speed in found.plan.speed:
        smaller = descent.smaller(speed) or "—"
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


def _trained(found: Found) -> Iterator[str]:
    yield ""
    yield f"## Trained for {found.epochs} epochs"
    if found.epochs < 3 / found.growth.A:
        yield ""
        yield f"That is less than the 3/A = {3 / found.growth.A:.0f} that J² needs."
    yield ""
    yield "| | weight decay | J at the end | test loss at the end | lowest | in epoch | accuracy at the end, % |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_row(trained) for trained in found.all)
    yield ""
    seeds = len(found.plan.seeds)
    of_seeds = f"Mean over {seeds} seeds ± standard error" if seeds > 1 else "One seed"
    yield f"{of_seeds}; J over the last quarter of the epochs."
    yield ""
    yield from _settled(found)
    yield from _compared(found)
    yield from _sped(found)


def _row(trained: Trained) -> str:
    row = trained.row()
    loss, lowest, epoch = (_pm(row, name) for name in (LOSS, "lowest loss", "lowest epoch"))
    percent = {ACCURACY: 100 * row[ACCURACY], f"{ACCURACY} s.e.": 100 * row[f"{ACCURACY} s.e."]}
    accuracy = _pm(percent, ACCURACY)
    J = _pm(row, "J") + (" (still moving)" if row["moving"] else "")
    if row["diverged"]:
        J += f" ({row['diverged']} diverged)"
    return f"| {trained.name} | {trained.weight_decay:.3g} | {J} | {loss} | {lowest} | {epoch} | {accuracy} |"


def _pm(row: dict[str, float], name: str) -> str:
    return "—" if np.isnan(row[name]) else plus_minus(row[name], row[f"{name} s.e."])


def _settled(found: Found) -> Iterator[str]:
    trained = found.at_edge
    if not trained.completed:
        yield "With λ* every run diverged."
        return
    J, error = trained.settled
    growth, growth_error = trained.growth
    moving = "and is still moving" if trained.moving else "and stays"
    where = "off the edge" if abs(J - 1) > FAR else "at the edge"
    yield f"With λ* J came to {plus_minus(J, error)}, {where}, {moving}."
    ratio = growth / found.growth.A
    yield ""
    yield (
        f"Under this decay J² grew by A' = dJ²/dt + A J² = {plus_minus(growth, growth_error)} an epoch at the end, "
        f"{ratio:.2f} times A, where the guideline takes 1{_reason(ratio)}."
    )
    if found.corrected:
        corrected_J, corrected_error = found.corrected.settled
        yield ""
        yield (
            f"With A' in place of A the weight decay is {found.corrected.weight_decay:.3g}; J came to "
            f"{plus_minus(corrected_J, corrected_error)}{', still moving' if found.corrected.moving else ''}."
        )


def _reason(ratio: float) -> str:
    if abs(ratio - 1) <= ABOUT:
        return ""
    if ratio > 1:
        return ": what decay takes the gradient gives back in part, and the more the longer it goes on"
    return ": J² had grown faster when A was measured than it does late in a run"


def _compared(found: Found) -> Iterator[str]:
    """The test loss with λ* against every other."""
    yield ""
    for trained in found.all:
        if trained is not found.at_edge:
            end, lowest = (_difference(found.at_edge, trained, name) for name in (LOSS, "lowest loss"))
            yield f"- test loss of λ* against {trained.name}: {end} at the end, {lowest} at its lowest"


def _difference(one: Trained, other: Trained, name: str) -> str:
    row, its_row = one.row(), other.row()
    difference = row[name] - its_row[name]
    error = float(np.hypot(row[f"{name} s.e."], its_row[f"{name} s.e."]))
    if np.isnan(error):
        return f"{difference:+.4f}"
    told = " (within two standard errors of none)" if abs(difference) <= 2 * error else ""
    return f"{difference:+.4f} ± {error:.1g}{told}"


def _sped(found: Found) -> Iterator[str]:
    slow = next((each for each in found.all if each.weight_decay == 0), None)
    for speed, trained in found.faster:
        row, predicted = trained.row(), found.growth.epochs_to_edge[0] / speed
        reached = _pm(row, "edge epoch") if np.isfinite(row["edge epoch"]) else "not in every run"
        lowest, epoch, J = (_pm(row, f"lowest {name}") for name in ("loss", "epoch", "J"))
        yield ""
        yield (
            f"Trained with {trained.name} and no decay for {len(trained.curves[0].rows) - 1} epochs: the edge reached "
            f"in epoch {reached}, predicted {predicted:.3g}; lowest test loss {lowest} in epoch {epoch} at J = {J}."
        )
    if found.faster and slow:
        row = slow.row()
        lowest, epoch, J = (_pm(row, f"lowest {name}") for name in ("loss", "epoch", "J"))
        yield ""
        yield f"At the config's own eta and B: {lowest} in epoch {epoch} at J = {J}."
