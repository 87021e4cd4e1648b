"""Findings on parameters, on the loss at the start, and on attention, recurrence and dropout."""

import math
from collections.abc import Mapping, Sequence

from start_training.diagnosis import limits
from start_training.diagnosis.evidence.parameter_gradients import ParameterGradients
from start_training.diagnosis.finding import NO, NOT_JUDGED, YES, Finding, listed
from start_training.diagnosis.trials.objective import Evaluation
from start_training.diagnosis.trials.trial_optimizers import TrialOptimizer
from start_training.lengths.signal.time_gradients import TimeGradient

SHOWN_RATES = {"sgd": 0.1, "adam": 1e-3}  # for which the text states the size of a step


def finite(gradients: ParameterGradients, loss: float, dtypes: Sequence[str], largest: float) -> Finding:
    """Values that are infinite or NaN in the precision of the net, and how far float16 is."""
    bad = bool(gradients.not_finite) or not math.isfinite(loss)
    precision = "/".join(dtypes) or "float32"
    where = listed(gradients.not_finite) or "the outputs"
    over = largest > 65504 and "float16" not in dtypes
    return Finding(
        name="infinite or NaN",
        answer=YES if bad else NO,
        text=f"loss {loss:.3g} in {precision}; infinite or NaN: {where}; no step of training is possible"
        if bad
        else f"loss {loss:.3g} and all gradients are finite in {precision}; largest activation {largest:.3g}"
        + ", too large for float16" * over,
        value=largest if math.isfinite(largest) else None,
        limit=65504.0,
        place=gradients.not_finite[0] if gradients.not_finite else "",
        defect="not_finite" * bad,
        todo="look for NaN in the weights, smaller weights, bfloat16 or float32" * bad,
    )


def without_gradient(
    gradients: ParameterGradients, *, disagree: bool, optimizers: Sequence[TrialOptimizer] = ()
) -> Finding:
    """Parameters whose gradient is exactly 0, also after the first steps, or of which none is trainable.

    Args:
        gradients: The gradients of the first net.
        optimizers: Those whose first steps the text states; of each family the first.
        disagree: Whether the lengths of initializations differ too much: a dead one is then failure mode 2, no defect.
    """
    none = gradients.trainable == 0
    bad = none or (bool(gradients.zero) and not disagree)
    unused = f"; not used: {listed(gradients.unused)}" if gradients.unused else ""
    sizes = {"sgd": gradients.update_sgd, "adam": gradients.update_adam}
    first = {one.family: one for one in reversed(optimizers)}
    steps = [f"{one.text} by {one.rate * sizes[family]:.1g}" for family, one in first.items() if one.rate]
    text = f"{gradients.moving:.0%} of {gradients.trainable:,} trainable numbers get a gradient"
    text += f"; a step changes weights, relative to their size: {', '.join(steps)} (medians)" * bool(steps) + unused
    if bad:
        text = "no parameter is trainable" if none else f"{text}; none: {listed(gradients.zero)}"
    return Finding(
        name="parameters without gradient",
        answer=YES if bad else NO,
        text=text,
        value=1 - gradients.moving,
        limit=0.0,
        place=gradients.zero[0] if gradients.zero else "",
        defect="no_gradient" * bad,
        todo=("set requires_grad=True" if none else "see dead parts; or give zero weights random values") * bad,
    )


def detached(gradients: ParameterGradients) -> Finding:
    """Parameters on whose values the loss depends, and that autograd does not reach."""
    bad = bool(gradients.detached)
    many = len(gradients.detached)
    return Finding(
        name="detached parameters",
        answer=YES if bad else NO,
        text=f"{many} parameters change the loss and get no gradient: {listed(gradients.detached)}"
        if bad
        else "every parameter that changes the loss is reached by the backward pass",
        value=float(many),
        limit=0.0,
        place=gradients.detached[0] if bad else "",
        defect="detached" * bad,
        todo="remove .detach(), .data or torch.no_grad(), or freeze these parameters on purpose" * bad,
    )


def symmetric(gradients: ParameterGradients) -> Finding:
    """Units that compute the same and stay equal, since they get equal gradients."""
    bad = bool(gradients.symmetric)
    return Finding(
        name="equal units",
        answer=YES if bad else NO,
        text=f"units of {listed(gradients.symmetric)} are equal and stay so: they count as one"
        if bad
        else "no weight has equal rows that stay equal",
        value=float(len(gradients.symmetric)),
        limit=0.0,
        place=gradients.symmetric[0] if bad else "",
        defect="symmetric" * bad,
        todo="give these weights random values (initialize_)" * bad,
    )


def loss_at_start(evaluation: Evaluation, loss: float, *, substitute: bool) -> Finding:
    """The loss at the start, relative to that of equal probabilities or of predictions of 0.

    Args:
        evaluation: The first evaluation of the loss.
        loss: Its value.
        substitute: Whether random targets stand in for a loss, which say little of the size that outputs should have.
    """
    name = "loss at the start"
    if evaluation.uninformed is None or evaluation.uninformed <= 0:
        known = abs(loss) < limits.HUGE or not math.isfinite(loss)
        text = f"{loss:.3g}; its chance value is not known"
        answer, defect = (NOT_JUDGED, "") if known else (YES, "readout")
        return Finding(name=name, answer=answer, text=text, value=loss, limit=limits.HUGE, defect=defect)
    times, limit = loss / evaluation.uninformed, limits.READOUT_SUBSTITUTE if substitute else limits.READOUT
    if evaluation.squared:  # in the size of outputs
        times = math.sqrt(max(times, 0.0))
    bad = not times <= limit and math.isfinite(loss)
    text = f"{loss:.3g}, that of equal probabilities or zero outputs is {evaluation.uninformed:.3g}"
    return Finding(
        name=name,
        answer=YES if bad else NO,
        text=text + f": outputs are too large; the first steps only undo this (limit {limit:g} times)" * bad,
        value=times,
        limit=limit,
        defect="readout" * bad,
        todo=f"divide the weights of the last layer by about {times:.2g}" * bad,
    )


def probabilities(evaluation: Evaluation) -> Finding:
    """Probabilities in the place of logits."""
    bad = evaluation.probabilities
    return Finding(
        name="probabilities as logits",
        answer=YES if bad else NO,
        text="the loss takes logits and applies a softmax itself, but gets probabilities; its gradients are small"
        if bad
        else "the loss gets what it takes",
        defect="double_softmax" * bad,
        todo="remove the softmax or sigmoid at the end of the net" * bad,
    )


def through_time(gradients: Sequence[TimeGradient]) -> Finding:
    """Gradients that vanish or explode through the time steps of recurrent modules."""
    name = "gradients through time"
    if not gradients:
        return Finding(name=name, answer=NO, text="the net has no recurrent modules")
    worst = max(gradients, key=lambda one: max(one.growth / limits.EXPLODES, one.growth / limits.LOST))
    lost, explodes = worst.growth < limits.LOST, not worst.growth <= limits.EXPLODES
    text = f"{worst.name}: {worst.growth:+.3g} nats over {worst.steps} steps, back to the first one".replace("-", "−")
    text += f"; limits {limits.LOST:g} and +{limits.EXPLODES:g}".replace("-", "−")
    text += "; what depends on early steps is not learned" * lost + "; updates are far too large" * explodes
    todo = "use an LSTM or GRU with forget bias 1 or more, orthogonal recurrent weights, or shorter sequences" * lost
    return Finding(
        name=name,
        answer=YES if lost or explodes else NO,
        text=text,
        value=worst.growth,
        limit=limits.LOST if worst.growth < 0 else limits.EXPLODES,
        place=worst.name,
        defect="lost_in_time" * lost + "explodes_in_time" * explodes,
        todo=todo or "make the recurrent weights smaller or orthogonal, or clip gradients" * explodes,
    )


def attention(entropies: Mapping[str, Sequence[float]]) -> Finding:
    """Attention of entropy near 0."""
    name = "saturated attention"
    if not entropies:
        return Finding(name=name, answer=NO, text="no attention was seen")
    means = {module: math.fsum(values) / len(values) for module, values in entropies.items()}
    place = min(means, key=lambda module: means[module])
    bad = means[place] < limits.ENTROPY
    sick = [module for module, mean in means.items() if mean < limits.ENTROPY]
    text = f"entropy of attention {means[place]:.2g} of its largest at {place or 'the net'}, limit {limits.ENTROPY:g}"
    return Finding(
        name=name,
        answer=YES if bad else NO,
        text=text
        + f"; {len(sick)} of {len(means)}: each token attends to one other, gradients vanish or explode" * bad,
        value=means[place],
        limit=limits.ENTROPY,
        place=place,
        defect="saturated_attention" * bad,
        todo="make the weights of queries and keys smaller, or normalize both" * bad,
    )


def dropout(probabilities_of: Mapping[str, float]) -> Finding:
    """So much dropout that what is left is noise."""
    if not any(probabilities_of.values()):
        return Finding(name="dropout", answer=NO, text="the net has no dropout")
    place = max(probabilities_of, key=lambda name: probabilities_of[name], default="")
    largest = probabilities_of.get(place, 0.0)
    bad = largest > limits.DROPOUT
    return Finding(
        name="dropout",
        answer=YES if bad else NO,
        text=f"probability {largest:g}" + f" at {place}" * bool(place) + f", limit {limits.DROPOUT:g}",
        value=largest,
        limit=limits.DROPOUT,
        place=place,
        defect="dropout" * bad,
        todo="use at most 0.5" * bad,
    )
