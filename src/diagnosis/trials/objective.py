"""The scalar that a net is to minimize: the user's loss, one that follows from the targets, or a substitute."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from start_training.diagnosis.trials.forward_batch import ForwardBatch, is_lightning, tensors_in
from start_training.diagnosis.trials.loss_calls import LossCalls

Loss = Callable[[Any, Any], Tensor]
SHORT = {"mse": "mse_loss", "mae": "l1_loss", "bce": "binary_cross_entropy_with_logits", "nll": "nll_loss"}


class Evaluation(NamedTuple):
    """A loss and what is known of it.

    Attributes:
        loss: The scalar, with a graph.
        chance: The lowest loss of predictions that ignore the inputs, on this batch; None: not known.
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
        loss: A function of outputs and targets, or the name of a function in `torch.nn.functional`, of which
            `cross_entropy`, `mse`, `mae`, `bce` and `nll` are enough. None: the `training_step` of a LightningModule;
            the entry `loss` of the outputs; cross-entropy if the targets are integers; mean squared error if they are
            real numbers of the outputs' shape; otherwise a substitute, see `prepared`.
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
        self.text, self.substitute, self._seed = "", False, seed
        self._step = loss is None and is_lightning(net)
        self._loss = _named(loss) if isinstance(loss, str) else loss
        if self._loss is not None:
            self.text = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)

    def __call__(self, net: nn.Module, batch: ForwardBatch) -> Evaluation:
        """Evaluate the loss of a batch.

        Raises:
            ValueError: the loss cannot be computed, or is not a scalar.
        """
        with LossCalls() as calls:
            loss = self.loss(net, batch)
        share = calls.share(float(loss.detach()))
        chance, uninformed = (None if value is None else share * value for value in (calls.chance, calls.uninformed))
        return Evaluation(loss, chance, uninformed, calls.probabilities, calls.squared)

    def loss(self, net: nn.Module, batch: ForwardBatch) -> Tensor:
        """Return the loss alone, which takes less time.

        Raises:
            ValueError: the loss cannot be computed, or is not a scalar.
        """
        loss = self._training_step(net, batch) if self._step else self._of_outputs(net, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"loss = {self.text}: must return a scalar, not {shape}")
        return loss.reshape(())

    def prepared(self, net: nn.Module, batch: ForwardBatch) -> tuple[Evaluation, ForwardBatch]:
        """Evaluate the loss of a batch, and return the batch; with random targets if they stand in for a loss.

        The substitute is a classification: a random projection of each sample's outputs (a cotangent of them) is the
        logit of one of two classes, which are the sign of a random projection of its inputs.
        """
        evaluation = self(net, batch)
        if not self.substitute or self._loss is not None:
            return evaluation, batch
        self._loss = self._projected_loss
        batch = self.with_targets(batch)
        return self(net, batch), batch

    def with_targets(self, batch: ForwardBatch) -> ForwardBatch:
        """Return a batch with random targets if they stand in for a loss; otherwise the batch."""
        if not self.substitute:
            return batch
        generator = torch.Generator().manual_seed(self._seed)
        inputs = [tensor for tensor in tensors_in(batch.inputs) if tensor.dim()]
        rows = inputs[0].flatten(1) if inputs[0].dim() > 1 else inputs[0][:, None]
        if rows.is_floating_point():
            targets = rows.float() @ torch.randn(rows.shape[1], generator=generator)
        else:
            targets = torch.randn(len(rows), generator=generator)
        return batch._replace(targets=(targets > targets.median()).float())

    def _projected_loss(self, outputs: Any, targets: Tensor) -> Tensor:
        projections = []
        for output in _real_tensors(outputs):
            rows = output.flatten(1) if output.dim() > 1 else output.reshape(-1, 1)
            cotangent = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(self._seed))
            projections.append(rows @ cotangent.to(rows) / rows.shape[1] ** 0.5)
        fitting = [one for one in projections if len(one) == len(targets)]
        if not fitting:  # outputs without samples on their first axis
            return F.binary_cross_entropy_with_logits(torch.cat(projections).mean(), targets.to(projections[0]).mean())
        logits = torch.stack(fitting).sum(0) / len(fitting) ** 0.5
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits))

    def _training_step(self, net: nn.Module, batch: ForwardBatch) -> Tensor:
        self.text = f"training_step of {type(net).__name__}"
        with warnings.catch_warnings():  # a module on its own has no trainer to log to
            warnings.filterwarnings("ignore", message=r".*self\.(log|trainer).*")
            result = net.training_step(batch.whole, 0)  # type: ignore[operator]
        loss = result.get("loss") if isinstance(result, Mapping) else result
        if not isinstance(loss, Tensor):
            raise ValueError(
                f"net = {type(net).__name__}: training_step returns no loss, as with manual optimization; pass the "
                "module whose forward pass is to be judged, and loss=…"
            )
        return loss

    def _of_outputs(self, net: nn.Module, batch: ForwardBatch) -> Any:
        outputs, targets = net(*batch.arguments, **batch.named), batch.targets
        if self._loss is not None:
            if targets is None:
                raise ValueError(f"loss = {self.text}: needs targets; pass targets=… or a batch (inputs, targets)")
            return self._loss(outputs, targets)
        own = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
        if isinstance(own, Tensor):
            self.text = "the loss that the net returns"
            return own
        tensors = _real_tensors(outputs)
        if isinstance(targets, Tensor) and tensors:
            if not targets.is_floating_point() and (logits := _by_class(tensors[0], targets)) is not None:
                self.text = "cross-entropy, since the targets are integers"
                return F.cross_entropy(logits, targets.flatten().long())
            if targets.is_floating_point() and targets.shape == tensors[0].shape:
                self.text = "mean squared error, since the targets are real numbers"
                return F.mse_loss(tensors[0], targets.to(tensors[0].dtype))
        if not tensors:
            raise ValueError(f"net = {type(net).__name__}: the output of forward has no floating-point tensor")
        self.text, self.substitute = (
            "unknown; in its place random projections of the outputs tell two classes apart",
            True,
        )
        return torch.stack([tensor.float().square().mean() for tensor in tensors]).sum()


def _real_tensors(outputs: Any) -> list[Tensor]:
    return [tensor for tensor in output_tensors(outputs) if tensor.is_floating_point()]


def output_tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors of outputs, without the caches that transformers return beside their outputs.

    Example:
        >>> [tensor.shape for tensor in output_tensors({"logits": torch.ones(2), "past_key_values": torch.ones(3)})]
        [torch.Size([2])]
    """
    if isinstance(outputs, Mapping):
        kept = [key for key in outputs if "past_key" not in str(key) and "cache" not in str(key)]
        outputs = [outputs[key] for key in kept]
    return tensors_in(outputs)


def _by_class(predictions: Tensor, targets: Tensor) -> Tensor | None:
    """Return predictions of shape (targets, classes) if they have one axis more than the targets; otherwise None."""
    shape = tuple(targets.shape)
    if predictions.dim() == targets.dim() + 1:
        for axis in (-1, 1):
            logits = predictions.movedim(axis, -1)
            if tuple(logits.shape[:-1]) == shape and logits.shape[-1] > 1 and int(targets.max()) < logits.shape[-1]:
                return logits.flatten(0, -2)
    return None


def _named(loss: str) -> Loss:
    name = SHORT.get(loss, loss)
    function = getattr(F, name, None)
    if function is None or not callable(function) or ("loss" not in name and "entropy" not in name):
        raise ValueError(
            f"loss = {loss!r}: must be a function of outputs and targets, one of cross_entropy, {', '.join(SHORT)}, or "
            "the name of another loss in torch.nn.functional"
        )
    return function
