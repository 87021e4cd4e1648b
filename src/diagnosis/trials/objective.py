"""The scalar that a net is to minimize: the user's loss, one that follows from the targets, or a substitute."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from start_training.diagnosis.trials.forward_batch import ForwardBatch, is_lightning
from start_training.diagnosis.trials.guessed_loss import LossFails, guessed_loss, real_tensors
from start_training.diagnosis.trials.loss_calls import LossCalls
from start_training.diagnosis.trials.named_loss import Loss, given_loss
from start_training.diagnosis.trials.random_targets import RandomTargets
from start_training.settings import one_line

CONSTANT = 1e-9  # chance relative to the loss of zero outputs, below which all targets are the same


class Evaluation(NamedTuple):
    """A loss and what is known of it.

    Attributes:
        loss: The scalar, with a graph.
        chance: The lowest loss of predictions that ignore the inputs, on this batch; None: not known, or 0, as where
            all samples have the same target.
        uninformed: The loss of equal probabilities for all classes, or of predictions of 0; None: not known.
        probabilities: Whether the loss takes logits and was given probabilities.
        squared: Whether it is a squared error.
    """

    loss: Tensor
    chance: float | None
    uninformed: float | None
    probabilities: bool
    squared: bool = False


class Objective:
    """The loss of a net on a batch.

    Args:
        net: The net.
        loss: A function of outputs and targets, a loss module or its class, or the name of a function in
            `torch.nn.functional`, of which `cross_entropy`, `mse`, `mae`, `bce` and `nll` are enough. None: the
            `training_step` of a LightningModule; the entry `loss` of the outputs; what `guessed_loss` returns;
            otherwise a substitute, see `RandomTargets`.
        seed: Seed of the substitute.

    Attributes:
        text: What the loss is, after the first call.
        substitute: Whether random targets stand in for a loss.

    Raises:
        ValueError: the name is not that of a loss.

    Example:
        >>> net, batch = nn.Linear(2, 3), ForwardBatch((torch.ones(4, 2),), {}, torch.tensor([0, 1, 2, 2]), None)
        >>> objective = Objective(net)
        >>> round(objective(net, batch).chance, 2), objective.text
        (1.04, 'cross-entropy, since the targets are integers')
    """

    def __init__(self, net: nn.Module, loss: Loss | str | None = None, *, seed: int = 0) -> None:
        self.text, self.substitute = "", False
        self._random = RandomTargets(seed)
        self._step, self._why = loss is None and is_lightning(net), ""
        self._loss, self.text = given_loss(loss)

    def __call__(self, net: nn.Module, batch: ForwardBatch) -> Evaluation:
        """Evaluate the loss of a batch.

        Raises:
            LossFails: the loss cannot be computed, or is not a scalar.
        """
        with LossCalls() as calls:
            loss = self.loss(net, batch)
        share = calls.share(float(loss.detach()))
        chance, uninformed = (None if value is None else share * value for value in (calls.chance, calls.uninformed))
        if chance is not None and chance <= CONSTANT * (uninformed or 1.0):
            chance = None
        return Evaluation(loss, chance, uninformed, calls.probabilities, calls.squared)

    def loss(self, net: nn.Module, batch: ForwardBatch) -> Tensor:
        """Return the loss alone, which takes less time.

        Raises:
            LossFails: the loss cannot be computed, or is not a scalar.
        """
        loss = self._training_step(net, batch) if self._step else self._of_outputs(net, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            hint = "; take the mean over samples" if isinstance(loss, Tensor) else ""
            raise LossFails(f"loss = {self.text}: must return a scalar, not {shape}{hint}")
        return loss.reshape(())

    def prepared(self, net: nn.Module, batch: ForwardBatch) -> tuple[Evaluation, ForwardBatch]:
        """Evaluate the loss of a batch, and return the batch; with random targets if they stand in for a loss."""
        if not self.substitute:
            evaluation = self(net, batch)
            if not self.substitute:
                return evaluation, batch
        with torch.no_grad():
            outputs = real_tensors(net(*batch.arguments, **batch.named))
        batch = batch._replace(targets=self._random.targets(batch.inputs, outputs))
        return self(net, batch), batch

    def _training_step(self, net: nn.Module, batch: ForwardBatch) -> Any:
        """Return the loss of a LightningModule's own step; without one, that of its forward pass from then on."""
        self.text = f"training_step of {type(net).__name__}"
        try:
            with warnings.catch_warnings():  # a module on its own has no trainer to log to
                warnings.filterwarnings("ignore", message=r".*self\.(log|trainer).*")
                step: Any = net.training_step
                result = step(batch.whole, 0) if _takes_two(step) else step(batch.whole)
            loss = result.get("loss") if isinstance(result, Mapping) else result
            if isinstance(loss, Tensor):
                return loss
            why = "it returns no loss, as with manual optimization"
        except Exception as error:  # it may need a trainer, or fail for any other reason
            why = one_line(error)
        try:
            loss = self._of_outputs(net, batch)
        except Exception as error:
            raise LossFails(
                f"net = {type(net).__name__}: training_step cannot be used without a trainer ({why}), and the forward "
                f"pass fails on the batch ({one_line(error)}); pass the module whose forward pass is to be judged, and "
                "loss=…"
            ) from error
        self._step, self._why = False, f"training_step cannot be used without a trainer ({why}); in its place "
        self.text = self._why + self.text
        return loss

    def _of_outputs(self, net: nn.Module, batch: ForwardBatch) -> Any:
        outputs, targets = net(*batch.arguments, **batch.named), batch.targets
        if self._loss is not None:
            return self._loss(outputs, targets)
        if self.substitute:
            return self._random.error(outputs, targets)
        if (own := _own_loss(outputs, batch)) is not None:
            self.text = f"{self._why}the loss that the net returns"
            return own
        if targets is not None and (guess := guessed_loss(outputs, targets)) is not None:
            self.text = self._why + guess[1]
            return guess[0]
        tensors = real_tensors(outputs)
        if not tensors:
            raise ValueError(f"net = {type(net).__name__}: the output of forward has no floating-point tensor")
        if len(tensors) == 1 and tensors[0].dim() == 0:
            self.text = f"{self._why}the number that the net returns"
            return tensors[0]
        without = "" if targets is None else f", since no loss fits outputs of shape {tuple(tensors[0].shape)}"
        self.text = (
            f"{self._why}unknown{without}; in its place random projections of the outputs tell two classes apart"
        )
        self.substitute = True
        return torch.stack([tensor.float().square().mean() for tensor in tensors]).sum()


def _own_loss(outputs: Any, batch: ForwardBatch) -> Tensor | None:
    """Return the loss among the outputs: the entry `loss`; or scalars, if the net was given targets as an argument."""
    own = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    if isinstance(own, Tensor):
        return own
    if isinstance(outputs, Mapping) and outputs and all(_is_scalar(value) for value in outputs.values()):
        return torch.stack([*outputs.values()]).sum()  # losses by their names, as detectors return them
    given = any(value is batch.targets for value in (*batch.arguments, *batch.named.values()))
    if given and batch.targets is not None and isinstance(outputs, tuple):
        return next((output for output in outputs if _is_scalar(output)), None)
    return None


def _takes_two(step: Any) -> bool:
    parameters = inspect.signature(step).parameters.values()
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(one.kind == one.VAR_POSITIONAL for one in parameters)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()
