"""From a plain config to the objects it names."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from src.initializers.initialize import FillTensor, initialize_
from src.models.classifier import Classifier
from src.settings import positive_number, whole_number

Config = Mapping[str, Any]
_NAMES_A_SETTING = re.compile(r"\w+ = ")


class Sized(Protocol):
    """What a net has to know of its data; a datamodule knows it before it has loaded any."""

    input_shape: tuple[int, ...]
    classes: int


def build_datamodule(config: Config) -> Any:
    """The datamodule of `config["datamodule"]`; it has loaded nothing yet."""
    return build(config["datamodule"], "datamodule")


def build_net(config: Config, datamodule: Sized) -> nn.Module:
    """The net of `config["model"]`, sized for the data and initialized from `config["seed"]`.

    Raises ValueError, naming the setting, for a config that no net can be built from, or for an
    initializer that leaves weights that are not finite.
    """
    accepted = inspect.signature(get_object(config["model"]["_target_"])).parameters
    input_shape = tuple(datamodule.input_shape)
    size = (
        {"input_shape": input_shape}
        if "input_shape" in accepted
        else {"input_size": int(torch.Size(input_shape).numel())}
    )
    net = build(config["model"], "model", classes=datamodule.classes, **size)
    generator = torch.Generator().manual_seed(whole_number("seed", config["seed"]))
    readout = config.get("readout_initializer")
    initialize_(
        net,
        build_initializer(config["initializer"], "initializer"),
        readout_initializer=readout and build_initializer(readout, "readout_initializer"),
        generator=generator,
    )
    return net


def build_initializer(config: Config, group: str = "initializer") -> FillTensor:
    """An initializer from its `_target_`: a class is instantiated, any other callable fills tensors as it is."""
    if "_partial_" in config:
        return build(config, group)
    return build(config, group, _partial_=not inspect.isclass(get_object(config["_target_"])))


def build_classifier(config: Config, net: nn.Module, datamodule: Sized) -> Classifier:
    """The LightningModule that trains `net` as `config` says."""
    if "lr" in config["optimizer"]:
        positive_number("optimizer.lr", config["optimizer"]["lr"])
    schedule = config.get("schedule")
    return Classifier(
        net,
        build(config["optimizer"], "optimizer"),
        classes=datamodule.classes,
        schedule=schedule and build(schedule, "schedule"),
        seed=config["seed"],
    )


def build(config: Config, group: str, /, **arguments: Any) -> Any:
    """Instantiate one config group. Raises ValueError whose message names the setting in full: `group.key`."""
    try:
        return instantiate(dict(config), _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError) and _NAMES_A_SETTING.match(str(cause)):
            raise ValueError(f"{group}.{cause}") from error
        if isinstance(cause, ValueError | TypeError | MisconfigurationException):
            raise ValueError(f"{group}: {cause}") from error
        if cause is None or isinstance(cause, ImportError | AttributeError):
            first_line = str(error).splitlines()[0]
            raise ValueError(f"{group}._target_ = {config.get('_target_')!r}: {first_line}") from error
        raise
