"""Count the training steps in which an optimizer stepped, and tell which optimizer it was."""

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.optim import Optimizer

NO_OPTIMIZER = ("", math.nan)


class OptimizerSteps:
    """The number of training steps of a Trainer in which an optimizer stepped.

    With automatic optimization, and with one optimizer, this is `trainer.global_step`, which counts the steps of each
    optimizer, and skipped batches under automatic optimization.

    Args:
        trainer: A Trainer whose optimizers are set up.
        module: Its module.
        count: The number of steps already done.
        before_step: Called with the name of an optimizer and the optimizer before its step, if it is manual.
        after_step: Called after it.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        count: int,
        before_step: Callable[[str, Optimizer], None],
        after_step: Callable[[], None],
    ) -> None:
        self.manual = not module.automatic_optimization
        self.stepping = False  # whether an optimizer steps now: it calls a closure under manual optimization
        optimizers = [one for one in trainer.optimizers if one.param_groups]  # Lightning's stand-in has none
        self.optimizers = dict(zip(optimizer_names(optimizers, module), optimizers, strict=True))
        self.several = len(optimizers) > 1
        self._trainer, self._count, self._before_step, self._after_step = trainer, count, before_step, after_step
        self._global_step, self._steps = trainer.global_step, 0  # of the Trainer, and seen here in this batch
        self.handles: list[Any] = []  # removed by `remove`
        if self.manual:  # an optimizer that the module unwraps is not counted by the Trainer
            for name, optimizer in self.optimizers.items():
                self.handles.append(optimizer.register_step_pre_hook(partial(self._begin, name)))
                self.handles.append(optimizer.register_step_post_hook(self._end))

    @property
    def count(self) -> int:
        """The number of training steps in which an optimizer stepped, before the present batch."""
        return self._count if self.manual else self._trainer.global_step

    def end_batch(self) -> bool:
        """Count the steps of a batch; return whether an optimizer stepped. Call it for every batch."""
        before, self._global_step = self._global_step, self._trainer.global_step
        # A step that is skipped because 16-bit gradients overflow is counted by the Trainer alone.
        steps, self._steps = max(self._steps, self._global_step - before), 0
        self._count += min(steps, 1) if self.several else steps
        return steps > 0

    def only(self) -> tuple[str, float]:
        """Return name and learning rate of the optimizer, or `NO_OPTIMIZER` if there are several or none."""
        if len(self.optimizers) != 1:
            return NO_OPTIMIZER
        [(name, optimizer)] = self.optimizers.items()
        return name, float(optimizer.param_groups[0]["lr"])

    def unscaled(self, loss: Tensor) -> Tensor:
        """Return the loss of a backward pass as the training step computed it."""
        if not self.manual:
            return loss * self._trainer.accumulate_grad_batches
        scaler = getattr(self._trainer.precision_plugin, "scaler", None)  # of 16-bit gradients
        return loss if scaler is None else loss / scaler.get_scale()

    def state(self) -> dict[str, int]:
        """Return the number of steps as plain data, if it may differ from `trainer.global_step`."""
        return {"step": self._count} if self.manual else {}

    def remove(self) -> None:
        """Remove the hooks from the optimizers."""
        for handle in self.handles:
            handle.remove()

    def _begin(self, name: str, optimizer: Optimizer, arguments: Any, by_name: Any) -> None:
        self.stepping = True
        self._before_step(name, optimizer)

    def _end(self, optimizer: Optimizer, arguments: Any, by_name: Any) -> None:
        self._steps += 1
        self._after_step()
        self.stepping = False


def optimizer_names(optimizers: list[Optimizer], module: nn.Module) -> list[str]:
    """Name each optimizer by the children of a module whose parameters it has, and its class.

    Example:
        >>> from torch.optim import SGD
        >>> module = nn.ModuleDict({"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)})
        >>> optimizer_names([SGD(module["generator"].parameters()), SGD(module["discriminator"].parameters())], module)
        ['generator (SGD)', 'discriminator (SGD)']
    """
    children = {id(value): name.partition(".")[0] for name, value in module.named_parameters()}
    names = []
    for optimizer in optimizers:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        owners = dict.fromkeys(children[id(value)] for value in parameters if id(value) in children)
        names.append(f"{'+'.join(owners)} ({type(optimizer).__name__})")
    repeated = Counter(names)
    return [f"{name} {index}" if repeated[name] > 1 else name for index, name in enumerate(names)]
