"""Pass a batch through a net while its layers are changed one after the other, on what the changed ones put out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from start_training.diagnosis.evidence.prepare import Prepared
from start_training.lengths.capture import first_tensor
from start_training.streams import isolate_random_streams

OnCall = Callable[["LayerCall"], None]


class LayerCall:
    """The first call of a module in a pass.

    Args:
        module: The module.
        inputs: Positional arguments of its `forward`.
        named: Keyword arguments.
        output: What it returned.
    """

    def __init__(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        self.module, self.inputs, self.named, self.output = module, inputs, named, output
        self._graph = torch.is_grad_enabled()  # a net may differentiate within its forward pass

    def again(self) -> None:
        """Call the module again, with the parameters that it has now, and pass that output on."""
        with torch.set_grad_enabled(self._graph):
            self.output = self.module.forward(*self.inputs, **self.named)

    @property
    def values(self) -> Tensor | None:
        """The first floating-point tensor of the output, in float64."""
        values = first_tensor(self.output)
        return None if values is None or not values.numel() else values.detach().double()


def change_in_pass(net: nn.Module, case: Prepared, actions: dict[nn.Module, OnCall], *, seed: int = 0) -> None:
    """Pass a batch through a net in training mode; at the first call of each module its action may change it.

    What a batch normalization remembers of the batch is restored.

    Args:
        net: The net, which is changed in place.
        case: The batch and the loss.
        actions: What to do after the first call of a module.
        seed: Seed of dropout and other noise.
    """
    done = set[nn.Module]()

    def hook(action: OnCall, module: nn.Module, inputs: Any, named: Any, output: Any) -> Any:
        if module in done:
            return output
        done.add(module)
        call = LayerCall(module, inputs, named, output)
        with torch.no_grad():
            action(call)
        return call.output

    handles = [
        module.register_forward_hook(partial(hook, action), with_kwargs=True) for module, action in actions.items()
    ]
    generator = torch.Generator().manual_seed(seed)
    try:
        with isolate_random_streams(generator), torch.no_grad(), _buffers_kept(net):
            case.objective.loss(net, case.batches[0])
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _buffers_kept(net: nn.Module) -> Iterator[None]:
    """Restore the buffers of a net, apart from those of parametrizations, which belong to the weights."""
    kept = {name: tensor.clone() for name, tensor in net.named_buffers() if "parametrizations" not in name}
    try:
        yield
    finally:
        now = dict(net.named_buffers())
        for name, tensor in kept.items():
            if name in now and now[name].shape == tensor.shape:
                now[name].copy_(tensor)
