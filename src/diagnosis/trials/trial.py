"""Train copies of a net for a few steps on small shares of the batch: does the loss fall below chance?"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, nn

from start_training.diagnosis.trials.forward_batch import ForwardBatch
from start_training.diagnosis.trials.objective import Objective
from start_training.diagnosis.trials.trial_optimizers import TrialOptimizer
from start_training.streams import isolate_random_streams

STEPS = 30
# Times the number of steps, after which the loss of all training samples is measured.
CHECKS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)
FALL = 0.1  # share of chance by which the loss has to fall below it, as for the labels of the zoo
SLOW = 0.03  # the same if what is learned carries over to held-out samples
CARRIES = 3.5  # standard deviations from which it does. In the zoo: at least 4.1 where nets start, at most 3 where not
SPLIT = 32  # fewest samples of which half are held out
SMALLEST = 8  # fewest samples of a step
PERMUTATIONS = 16
LARGE = 2**21  # weights of a net, above which hopeless rates are left out and no trial is twice as long
STILL = 0.01  # relative change of the loss below which it has not moved


@dataclass(frozen=True)
class ShortTraining:
    """A short training of a copy of a net.

    Attributes:
        optimizer: The optimizer and its rate, such as `SGD 0.1`.
        family: `sgd` or `adam`.
        rate: Learning rate.
        steps: After how many steps the loss was measured; the first entry is 0.
        losses: Loss of the training samples then.
        chance: The loss below which it has to fall: that of the best constant prediction, or what it was at first if
            that was less.
        carries_over: How many standard deviations the loss of held-out samples is below that with exchanged targets, at
            the end; NaN if no samples were held out.
    """

    optimizer: str
    family: str
    rate: float
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    chance: float
    carries_over: float = math.nan

    @property
    def fall(self) -> float:
        """By how much of chance the loss fell below it; −∞ if it was never finite after a step."""
        lowest = min((loss for loss in self.losses[1:] if math.isfinite(loss)), default=math.inf)
        return (self.chance - lowest) / max(abs(self.chance), 1e-12)

    @property
    def fell(self) -> bool:
        """Whether the loss of the training samples fell below chance."""
        return self.fall >= FALL

    @property
    def starts(self) -> bool:
        """Whether training starts, as far as this trial tells: the loss fell, or began to and it carries over."""
        return self.fell or (self.fall >= SLOW and self.carries_over >= CARRIES)


def run_trials(
    net: nn.Module,
    batches: Sequence[ForwardBatch],
    objective: Objective,
    optimizers: Sequence[TrialOptimizer],
    *,
    steps: int = STEPS,
    seed: int = 0,
    doubtful: bool = False,
) -> list[ShortTraining]:
    """Train a copy with one optimizer after the other; those of a family end with the first at which the loss falls.

    Each step uses a random quarter of the training samples, at least `SMALLEST` of them. (With all of them in each
    step, Adam memorizes the batch with gradients of 10⁻¹⁵, which fresh samples would drown in noise.) Half of a single
    batch of at least `SPLIT` samples is held out, and the last one of several batches. A batch whose tensors do not all
    have samples on their first axis is used as a whole.

    Args:
        net: The net; it is not changed.
        batches: One or more batches, with targets.
        objective: The loss.
        optimizers: The optimizers, see `trial_optimizers`.
        steps: Steps of a trial; twice as many for a loss that has not fallen by then.
        seed: Seed of dropout, of the shares, and of the exchanged targets.
        doubtful: Whether the net may memorize without learning, so that a trial has to carry over to held-out samples.
    """
    generator = torch.Generator().manual_seed(seed)
    training, held_out = _split(batches, generator)
    trials, done = list[ShortTraining](), set[str]()
    large = sum(one.numel() for one in net.parameters()) > LARGE
    for optimizer in optimizers:
        if large and _is_hopeless(optimizer, trials):
            continue
        if optimizer.family not in done:
            trials.append(_train(net, training, held_out, objective, optimizer, steps, seed, doubtful=doubtful))
            if trials[-1].starts and (not doubtful or trials[-1].carries_over >= CARRIES):
                done.add(optimizer.family)
    return trials


def _is_hopeless(optimizer: TrialOptimizer, trials: Sequence[ShortTraining]) -> bool:
    """Return whether a larger rate has not moved the loss, or a smaller one has diverged."""
    for trial in trials:
        if trial.family == optimizer.family and trial.rate and optimizer.rate:
            last = trial.losses[-1]
            still = math.isfinite(last) and abs(last - trial.losses[0]) < STILL * abs(trial.losses[0])
            if (still and optimizer.rate < trial.rate) or (not math.isfinite(last) and optimizer.rate > trial.rate):
                return True
    return False


def _split(batches: Sequence[ForwardBatch], generator: Generator) -> tuple[list[ForwardBatch], ForwardBatch | None]:
    if len(batches) > 1:
        return list(batches[:-1]), batches[-1]
    size = batches[0].samples
    if size is None or size < SPLIT:
        return list(batches), None
    order = torch.randperm(size, generator=generator)
    return [batches[0].select(order[: size // 2])], batches[0].select(order[size // 2 :])


def _train(
    net: nn.Module,
    batches: Sequence[ForwardBatch],
    held_out: ForwardBatch | None,
    objective: Objective,
    optimizer: TrialOptimizer,
    steps: int,
    seed: int,
    *,
    doubtful: bool,
) -> ShortTraining:
    trained, generator = copy.deepcopy(net), torch.Generator().manual_seed(seed)
    trial = ShortTraining(optimizer.text, optimizer.family, optimizer.rate, (), (), math.nan)
    most = 1.0 if sum(one.numel() for one in net.parameters()) > LARGE else CHECKS[-1]
    checks = [0, *sorted({max(1, round(share * steps)) for share in CHECKS if share <= most})]
    if len(batches) == 1 and not _is_divided(batches[0]):  # few samples, whose loss takes little time
        checks = [*range(checks[-1] + 1)]
    with isolate_random_streams(torch.Generator().manual_seed(seed)), torch.enable_grad():
        updates = optimizer.make(trained) if any(one.requires_grad for one in trained.parameters()) else None
        if callable(set_mode := getattr(updates, "train", None)):  # of schedule-free optimizers
            set_mode()
        step = 0
        while checks:
            if step == checks[0]:
                checks.pop(0)
                trial = _measured(trial, trained, batches, held_out, objective, step, generator)
                if not math.isfinite(trial.losses[-1]) or (
                    trial.fell and not (doubtful and trial.carries_over < CARRIES)
                ):
                    break
            if updates is None or not checks or not _step(trained, batches, objective, updates, generator):
                break
            step += 1
    return trial


def _measured(
    trial: ShortTraining,
    net: nn.Module,
    batches: Sequence[ForwardBatch],
    held_out: ForwardBatch | None,
    objective: Objective,
    step: int,
    generator: Generator,
) -> ShortTraining:
    """Return a trial with the loss after a step, and if that has begun to fall, with what carries over."""
    loss, known = _loss(net, batches, objective)
    chance = trial.chance if trial.losses else known
    trial = replace(trial, steps=(*trial.steps, step), losses=(*trial.losses, loss), chance=chance)
    if held_out is None or trial.fall < SLOW or not math.isfinite(loss):
        return trial
    return replace(trial, carries_over=_carries_over(net, held_out, objective, generator))


def _loss(net: nn.Module, batches: Sequence[ForwardBatch], objective: Objective) -> tuple[float, float]:
    """Return the mean loss of the batches, and chance, or that loss if it is less."""
    evaluations = [objective(net, batch) for batch in batches]
    loss = math.fsum(float(one.loss.detach()) for one in evaluations) / len(evaluations)
    known = [one.chance for one in evaluations if one.chance is not None]
    return loss, min([loss, math.fsum(known) / len(known)] if known else [loss])


def _step(
    net: nn.Module,
    batches: Sequence[ForwardBatch],
    objective: Objective,
    updates: torch.optim.Optimizer,
    generator: Generator,
) -> bool:
    """Take a step on a random share of a random batch; return whether that was possible."""
    batch = batches[int(torch.randint(len(batches), (), generator=generator))]
    if len(batches) == 1 and _is_divided(batch) and (size := batch.samples):
        batch = batch.select(torch.randperm(size, generator=generator)[: max(SMALLEST, size // 4)])
    loss = objective.loss(net, batch)
    if not loss.requires_grad or not bool(loss.isfinite()):
        return False
    updates.zero_grad()
    loss.backward()
    updates.step()
    return True


def _is_divided(batch: ForwardBatch) -> bool:
    """Return whether each step uses only some of the samples."""
    return batch.samples is not None and batch.samples >= 2 * SMALLEST


def _carries_over(net: nn.Module, batch: ForwardBatch, objective: Objective, generator: Generator) -> float:
    """Return by how many standard deviations the loss is below that with targets exchanged between samples."""
    size = batch.samples
    if size is None or batch.targets is None:
        return math.nan
    loss = float(objective.loss(net, batch).detach())
    exchanged = []
    for _ in range(PERMUTATIONS):
        order = torch.randperm(size, generator=generator)
        swapped = batch._replace(targets=batch.select(order).targets)
        exchanged.append(float(objective.loss(net, swapped).detach()))
    losses = torch.tensor(exchanged, dtype=torch.float64)
    deviation = float(losses.std())
    return (float(losses.mean()) - loss) / deviation if deviation > 0 else math.nan
