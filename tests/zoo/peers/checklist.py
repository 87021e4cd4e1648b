"""The checks of `neural-net-checklist`, as its functions for classification and for language models combine them."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import one_hot

from tests.zoo.net import ZooNet
from tests.zoo.peers.answers import SEED, Answer, batch, first_line
from tests.zoo.tasks import REGIONS, cross_entropy

SHARE = 0.3  # of the loss at chance, to which a batch has to be overfitted (its own: 1e-4, and 0.1 for language)
STEPS = 1536  # in which it has to be (its own: 65,536; the optimizer is its own, Adam at 3e-4)
OVERFIT = "overfit_to_batch"
Make = Callable[[], nn.Module]


class ClassesLast(nn.Module):
    """A net whose images of logits have the classes on their last axis."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> Any:
        return self.net(inputs).movedim(1, -1)


def ask(net: ZooNet) -> Answer:
    """Run all checks that task and net permit; that of overfitting, which takes long, if none of the others fails.

    A check that raises something else than its assertion is left out: some nets take no shorter sequences, and batch
    normalization no single sample, in training mode.

    Raises:
        TypeError: the net has several inputs or outputs.
        Exception: the net cannot be trained.
    """
    checks = import_module("neural_net_checklist.torch_diagnostics")
    inputs, targets = batch(net)
    if isinstance(inputs, tuple) or not isinstance(net.make(SEED)(inputs), Tensor):
        raise TypeError("takes one tensor of inputs and one of outputs")
    classes = 0 if targets.is_floating_point() else 1 + int(net.task.batch(256, SEED)[1].max())
    make: Make = partial(net.make, SEED)
    settings: dict[str, Any] = {"num_classes": classes, "loss_fn": net.task.loss}
    language = not inputs.is_floating_point()
    if language:  # as its function for language models does
        inputs = one_hot(inputs, classes).float()
        name = next(name for name, module in make().named_modules() if isinstance(module, nn.Embedding))
        make = checks.replace_input_embedding_layer(make, name)
    elif net.task is REGIONS:
        make, settings["loss_fn"] = lambda: ClassesLast(net.make(SEED)), cross_entropy
    failed: list[str] = []
    left_out: list[str] = []
    for name in _names(classes > 0, language):
        if name == OVERFIT:
            if failed:
                break
            settings |= {"threshold": SHARE * net.task.chance(targets), "max_steps": STEPS}
        try:
            _run(getattr(checks, f"assert_{name}"), make, (inputs, targets), settings)
        except AssertionError as error:
            failed.append(f"{name}: {first_line(error)}")
        except Exception as error:
            if name == OVERFIT:
                raise
            left_out.append(f"{name} left out: {first_line(error)}")
    return Answer(not failed, findings=(*failed, *left_out))


def _names(classes: bool, language: bool) -> list[str]:
    """The checks in their order."""
    of_classes = ["loss_at_init", "init_calibrated"]
    of_classes = [f"balanced_classification_cross_entropy_{name}" for name in of_classes if classes]
    return [
        *of_classes,
        "forward_batch_independence",
        *(["forward_causal_property"] if language else []),
        "non_zero_gradients",
        "backward_batch_independence",
        *(["backward_causal_property"] if language else []),
        "input_independent_baseline_worse",
        OVERFIT,
    ]


def _run(check: Callable[..., Any], make: Make, data: tuple[Tensor, Tensor], settings: dict[str, Any]) -> None:
    """Call a check with those of the settings that it has; some take a net, some what makes one."""
    first, *others = signature(check).parameters
    check(make() if first == "model" else make, data, **{key: settings[key] for key in settings if key in others})
