"""From a plain config to the objects it names."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Protocol

import torch
from hydra.utils import instantiate
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from start_training.config.mistakes import accepts, check_keys, settings_of, target_of
from start_training.initializers.initialize import FillTensor, initialize_
from start_training.models.classifier import Classifier
from start_training.models.run_length import required_lengths
from start_training.settings import fraction, number_from_zero, positive_number, seed

Config = Mapping[str, Any]
_STEPS, _MANY_EPOCHS = 1_000, 1_000_000  # in an epoch, and in a run without that limit, on trial
_OPTIMIZER = {"lr": positive_number, "momentum": fraction, "weight_decay": number_from_zero}


class Sized(Protocol):
    """What a net has to know of its data; a datamodule knows it before it has loaded any."""

    input_shape: tuple[int, ...]
    classes: int


def build_datamodule(config: Config) -> Any:
    """The datamodule of `config["datamodule"]`; it has loaded nothing yet."""
    return build(config.get("datamodule"), "datamodule")


def build_net(config: Config, datamodule: Sized) -> nn.Module:
    """The net of `config["model"]`, sized for the data and initialized from `config["seed"]`.

    Raises ValueError, naming the setting, for a config that no net can be built from, or for an
    initializer that leaves weights that are not finite.
    """
    net = construct_net(config, datamodule)
    generator = torch.Generator().manual_seed(seed("seed", config["seed"]))
    initializer, readout_initializer = build_initializers(config)
    initialize_(net, initializer, readout_initializer=readout_initializer, generator=generator)
    return net


def construct_net(config: Config, datamodule: Sized) -> nn.Module:
    """The net of `config["model"]`, sized for the data, with the weights that its constructor gives it."""
    input_shape = tuple(datamodule.input_shape)
    size = (
        {"input_shape": input_shape}
        if accepts(config.get("model"), "model", "input_shape")
        else {"input_size": int(torch.Size(input_shape).numel())}
    )
    return build(config["model"], "model", classes=datamodule.classes, **size)


def build_initializers(config: Config) -> tuple[FillTensor, FillTensor | None]:
    """Those of the layers and of the readout; None where the readout is drawn like the layers."""
    readout = config.get("readout_initializer")
    return (
        build_initializer(config.get("initializer"), "initializer"),
        build_initializer(readout, "readout_initializer") if readout else None,
    )


def build_initializer(config: Config | None, group: str = "initializer") -> FillTensor:
    """An initializer from its `_target_`: a class is instantiated, any other callable fills tensors as it is."""
    if inspect.isclass(target_of(config, group)):
        return build(config, group)
    return build_partial(config, group)


def build_classifier(config: Config, net: nn.Module, datamodule: Sized) -> Classifier:
    """The LightningModule that trains `net` as `config` says."""
    try_training(config, net)
    optimizer, schedule = build_optimizer(config), build_schedule(config)
    return Classifier(net, optimizer, classes=datamodule.classes, schedule=schedule, seed=config["seed"])


def try_training(config: Config, net: nn.Module) -> tuple[Optimizer, LRScheduler | None]:
    """An optimizer and a schedule like those that train `net`: torch looks at their settings only when they are made.

    Data are not loaded yet, so an epoch's length is a guess; of a cycle, what counts is how many epochs there are.
    """
    optimizer, schedule = build_optimizer(config)(net.parameters()), build_schedule(config)
    if schedule is None:
        return optimizer, None
    epochs = (config.get("trainer") or {}).get("max_epochs") or -1
    lengths = {"total_steps": _STEPS * (epochs if epochs > 0 else _MANY_EPOCHS), "steps_per_epoch": _STEPS}
    return optimizer, schedule(optimizer, **{name: lengths[name] for name in required_lengths(schedule)})


def build_schedule(config: Config) -> Callable[..., LRScheduler] | None:
    """The schedule of any optimizer; None where the rate is constant."""
    return build_partial(config["schedule"], "schedule") if config.get("schedule") else None


def build_optimizer(config: Config) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """The optimizer of any parameters."""
    optimizer = build_partial(config.get("optimizer"), "optimizer")
    for key, check in _OPTIMIZER.items():
        if key in config["optimizer"]:
            check(f"optimizer.{key}", config["optimizer"][key])
    return optimizer


def build(config: Config | None, group: str, /, **arguments: Any) -> Any:
    """Instantiate one config group. Raises ValueError whose message names the setting in full: `group.key`."""
    check_keys(config, group, arguments)
    with settings_of(group, config):
        return instantiate(dict(config or {}), _convert_="all", **arguments)


def build_partial(config: Config | None, group: str) -> Callable[..., Any]:
    """As `build`, of what takes one more argument; also what goes wrong in the call is said of the group."""
    partial = build(config, group, _partial_=True)

    @wraps(partial)
    def call(*arguments: Any, **named: Any) -> Any:
        with settings_of(group, config):
            return partial(*arguments, **named)

    call.__name__ = config["_target_"] if config else ""
    return call
