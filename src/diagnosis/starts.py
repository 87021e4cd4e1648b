"""Decide from all evidence whether training starts, for each family of optimizers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from start_training.diagnosis.finding import NO, NOT_JUDGED, NOT_TOLD, YES, Finding, compared
from start_training.diagnosis.signal_findings import PathVerdict
from start_training.diagnosis.trials.trial import CARRIES, FALL, ShortTraining
from start_training.theory.verdict import Thresholds, Verdict

UNCERTAIN = "uncertain"
ORDER = (NO, NOT_JUDGED, UNCERTAIN, YES)  # from bad to good
# Findings that decide by themselves, and those under which a net may memorize without learning.
FATAL = "not_finite"
BEGINS = 0.05  # fall of the loss that is enough for a net in which nothing else is wrong
STEEP = "growth with depth"
CHAOS = "small changes grow (chaos)"
SUSPICIOUS = ("gradients through time", CHAOS, "loss at the start", "probabilities as logits")


@dataclass(frozen=True)
class Start:
    """Whether training starts with one family of optimizers.

    Attributes:
        answer: `yes`, `no`, `uncertain` or `not judged`.
        reason: Why, in one line.
    """

    answer: str
    reason: str


def overall(starts: Mapping[str, Start]) -> str:
    """Return the best answer: a net starts if it does with one of the optimizers.

    Example:
        >>> overall({"sgd": Start("no", ""), "adam": Start("uncertain", "")})
        'uncertain'
    """
    return max((start.answer for start in starts.values()), key=ORDER.index)


def start_with(
    family: str,
    findings: Sequence[Finding],
    paths: Sequence[PathVerdict],
    trials: Sequence[ShortTraining] | None,
    thresholds: Thresholds,
) -> Start:
    """Decide whether training starts.

    What makes every step impossible decides first. Then the trial has the last word, unless a finding suggests that the
    net memorizes without learning: then what it learns has to carry over to held-out samples.

    Args:
        family: `sgd` or `adam`.
        findings: All findings.
        paths: The paths, the worst first.
        trials: The trials; None: none were run, so that lengths decide.
        thresholds: Limits of failure modes 1 and 2.
    """
    bad = {finding.name: finding for finding in findings if finding.answer == YES}
    for finding in bad.values():
        if finding.defect == FATAL or (finding.defect == "no_gradient" and not finding.place):
            return Start(NO, f"{finding.name}: {finding.text.split(';')[0]}")
    if trials is None:
        return _by_lengths(family, bad, findings, paths, thresholds)
    of_family = [trial for trial in trials if trial.family == family]
    if not of_family:
        return Start(NOT_JUDGED, "not tried")
    trial = max(of_family, key=lambda one: (one.starts, one.carries_over >= CARRIES, one.fall))
    said = trial_text(trial) + _disagreement(trial, family, paths, bad, thresholds)
    if not trial.starts:
        within = bool(paths) and compared(
            abs(paths[-1].verdict.drift), limit_of(family, paths[-1].verdict, thresholds), paths[-1].verdict.error
        )
        if trial.fall >= BEGINS and within == NO and not bad:
            return Start(YES, f"{trial_text(trial)} by {FALL:.0%}, but begins to, and lengths are within limits")
        return Start(NO, said)
    doubts = doubts_of(findings, paths, thresholds)
    if STEEP in doubts and trial.carries_over >= CARRIES:
        return Start(UNCERTAIN, f"{said}; lengths or gradients change by more than Adam tolerates in most nets")
    known = not math.isnan(trial.carries_over)
    if not known and doubts == [CHAOS]:  # too few samples to tell; many good nets are a little chaotic
        doubts = []
    if doubts and not trial.carries_over >= CARRIES:
        return Start(NO if known else UNCERTAIN, f"{said}, but does not carry over to held-out samples; {doubts[0]}")
    if any(finding.answer == YES and "mode 2" in finding.name for finding in findings):
        return Start(UNCERTAIN, f"{said}; but other initializations differ")
    return Start(YES, said)


def _disagreement(
    trial: ShortTraining,
    family: str,
    paths: Sequence[PathVerdict],
    bad: Mapping[str, Finding],
    thresholds: Thresholds,
) -> str:
    """Return which of lengths and trial is believed if they disagree, and why; empty if they agree."""
    if not paths or not math.isfinite(paths[-1].verdict.drift):
        return ""
    verdict, limit = paths[-1].verdict, limit_of(family, paths[-1].verdict, thresholds)
    lengths = compared(abs(verdict.drift), limit, verdict.error)
    if trial.starts and lengths == YES:
        return f"; lengths alone say no ({verdict.drift:+.1f} nats, limit ±{limit:g}), but the loss falls"
    if not trial.starts and lengths == NO and not bad:
        return "; lengths alone say yes, but it falls at none of the rates: more steps, or other rates, may be needed"
    return ""


def limit_of(family: str, verdict: Verdict, thresholds: Thresholds) -> float:
    """Return the limit of the drift for a family of optimizers; larger if `Thresholds.normalized` applies to it."""
    normalized = verdict.thresholds.drift / thresholds.drift
    return normalized * (thresholds.drift if family == "sgd" else thresholds.drift_adam)


def doubts_of(findings: Sequence[Finding], paths: Sequence[PathVerdict], thresholds: Thresholds) -> list[str]:
    """Return the names of the findings under which a net may memorize a batch without learning.

    Growth with depth is one of them if it is beyond what Adam tolerates on every path.
    """
    doubts = [finding.name for finding in findings if finding.answer == YES and finding.name in SUSPICIOUS]
    best = paths[-1] if paths else None
    steep = best is not None and (
        compared(abs(best.verdict.drift), limit_of("adam", best.verdict, thresholds), best.verdict.error) == YES
    )
    if steep and not (len(paths) == 1 and paths[0].bypassed):
        doubts.append(STEEP)
    return doubts


def trial_text(trial: ShortTraining) -> str:
    """Return what a trial did, in one line."""
    first, last = trial.losses[0], min((loss for loss in trial.losses if math.isfinite(loss)), default=math.nan)
    text = f"{trial.optimizer}: loss {first:.3g} → {last:.3g} in {trial.steps[-1]} steps, chance {trial.chance:.3g}"
    return text if trial.starts else f"{text}; it does not fall below chance"


def _by_lengths(
    family: str,
    bad: Mapping[str, Finding],
    findings: Sequence[Finding],
    paths: Sequence[PathVerdict],
    thresholds: Thresholds,
) -> Start:
    """Decide without a trial."""
    if not paths:
        return Start(NOT_JUDGED, "no layer was measured, and no trial was run")
    verdict = paths[-1].verdict
    limit = limit_of(family, verdict, thresholds)
    answer = compared(abs(verdict.drift), limit, verdict.error)
    text = f"lengths and gradients: {verdict.drift:+.1f} nats, limit {limit:g}"
    modes = [finding for finding in findings if "mode 2" in finding.name]
    if answer == YES or any(finding.answer == YES for finding in modes):
        return Start(NO, text if answer == YES else f"{modes[0].text}")
    if (dead := [finding for finding in bad.values() if finding.defect == "dead"]) and len(paths) == 1:
        return Start(NO, dead[0].text)
    if answer == NOT_TOLD or any(finding.answer == NOT_TOLD for finding in modes):
        return Start(UNCERTAIN, f"{text}; measure more nets (nets=…)")
    return Start(YES, f"{text}; no trial was run")
