"""Build the objects that a plain config names: datamodule, net, initializers, optimizer, schedule, classifier."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Protocol

import torch
from hydra.utils import instantiate
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from start_training.config.mistakes import accepts, check_keys, name_group_in_errors, target_of
from start_training.initializers.drawing import FillTensor, name_of
from start_training.initializers.initialization import Initialization, LeftParameter
from start_training.initializers.initialize import initialize_
from start_training.initializers.materialize import materialize_, needs_batch
from start_training.models.classifier import Classifier
from start_training.models.run_length import required_lengths
from start_training.settings import checked, fraction, named_in, number_from_zero, positive_number, seed, settings_from

Config = Mapping[str, Any]
_TRIAL_STEPS, _TRIAL_EPOCHS = 1_000, 1_000_000  # steps per epoch, and epochs without max_epochs, in `try_training`
_OPTIMIZER = {"lr": positive_number, "momentum": fraction, "weight_decay": number_from_zero}


def name_patterns(name: str, patterns: object) -> list[str]:
    """Constraint for names of layers: a list of patterns, among them names of layers that are numbers."""
    if not isinstance(patterns, list) or not all(type(pattern) in (str, int) for pattern in patterns):
        raise ValueError(f"{name} = {patterns!r}: must be a list of patterns for names, such as [hidden.*]")
    return [str(pattern) for pattern in patterns]


@checked
@dataclass(frozen=True)
class InitializeSettings:
    """The settings of `initialize_` beside the initializers."""

    only: Annotated[Sequence[str], name_patterns] | None = None
    skip: Annotated[Sequence[str], name_patterns] | None = None
    strict: bool = False


class DataSpec(Protocol):
    """Input shape and number of classes of a datamodule, which are known before it loads any data."""

    input_shape: tuple[int, ...]
    classes: int


def build_datamodule(config: Config) -> Any:
    """Return the datamodule of `config["datamodule"]`, before it has loaded any data."""
    return build(config.get("datamodule"), "datamodule")


def build_net(config: Config, datamodule: DataSpec) -> nn.Module:
    """Return the net of `config["model"]`, as `build_initialized` does."""
    return build_initialized(config, datamodule)[0]


def build_initialized(config: Config, datamodule: DataSpec) -> tuple[nn.Module, Initialization]:
    """Return the net of `config["model"]`, sized for the data and initialized with the seed `config["seed"]`.

    Lazy modules get their shapes from an input of zeros. Its settings `only`, `skip` and `strict` of `initialize_` are
    in `config["initialize"]`. An initializer that mends nets (`initializer=auto`) draws nothing here.

    Returns:
        The net, and what was drawn and left.

    Raises:
        ValueError: a setting is invalid, the initializer gives weights that are not finite, or it draws nothing but
            the readout, and no checkpoint will be loaded. The message names the setting.
    """
    net = construct_net(config, datamodule)
    generator = torch.Generator().manual_seed(seed("seed", config["seed"]))
    initializer, readout_initializer = build_initializers(config)
    settings = settings_from(InitializeSettings, config.get("initialize") or {}, "initialize")
    batch = torch.zeros(2, *datamodule.input_shape) if needs_batch(net) else None
    if getattr(initializer, "mends", False):  # what the constructor has drawn, once data are there
        materialize_(net, batch)
        return net, _as_constructed(net, readout_initializer)
    try:
        drawn = initialize_(
            net,
            initializer,
            readout_initializer=readout_initializer,
            generator=generator,
            only=settings.only,
            skip=settings.skip,
            strict=settings.strict,
            batch=batch,
        )
    except ValueError as error:
        setting = named_in(str(error))
        raise ValueError(f"initialize.{error}" if setting in ("only", "skip") else str(error)) from error
    if drawn.only_readout and settings.only is None and not config.get("ckpt_path"):
        names = "; ".join(str(left) for left in drawn.left if not left.exempt)
        raise ValueError(
            f"initializer = {name_of(initializer)}: must draw more than the readout of {type(net).__name__} ({names}); "
            "name the readout in initialize.only=[…] if this is wanted"
        )
    return net, drawn


def _as_constructed(net: nn.Module, readout_initializer: FillTensor | None) -> Initialization:
    """Return the initialization of a net whose weights are those that its constructor has drawn."""
    if readout_initializer is not None:
        raise ValueError("readout_initializer: must be null with initializer=auto, which mends the readout as well")
    left = [(name, "as constructed", one.numel()) for name, one in net.named_parameters()]
    return Initialization((), tuple(LeftParameter(*one, exempt=True, multiplies=True) for one in left))


def construct_net(config: Config, datamodule: DataSpec) -> nn.Module:
    """Return the net of `config["model"]`, sized for the data, with the weights drawn by its constructor."""
    input_shape = tuple(datamodule.input_shape)
    size = (
        {"input_shape": input_shape}
        if accepts(config.get("model"), "model", "input_shape")
        else {"input_size": int(torch.Size(input_shape).numel())}
    )
    return build(config["model"], "model", classes=datamodule.classes, **size)


def build_initializers(config: Config) -> tuple[FillTensor, FillTensor | None]:
    """Return the initializers of the layers and of the readout; None for the readout if it has the layers' one."""
    readout = config.get("readout_initializer")
    return (
        build_initializer(config.get("initializer"), "initializer"),
        build_initializer(readout, "readout_initializer") if readout else None,
    )


def build_initializer(config: Config | None, group: str = "initializer") -> FillTensor:
    """Return the initializer of a config node.

    Args:
        config: its `_target_` is a class, which is instantiated, or a function that fills a tensor in place.
        group: the config group of the node, for error messages.
    """
    if inspect.isclass(target_of(config, group)):
        return build(config, group)
    return build_partial(config, group)


def build_classifier(config: Config, net: nn.Module, datamodule: DataSpec) -> Classifier:
    """Return the LightningModule that trains `net` with the optimizer and the schedule of the config."""
    try_training(config, net)
    optimizer, schedule = build_optimizer(config), build_schedule(config)
    return Classifier(net, optimizer, classes=datamodule.classes, schedule=schedule, seed=config["seed"])


def try_training(config: Config, net: nn.Module) -> tuple[Optimizer, LRScheduler | None]:
    """Build the optimizer and the schedule of the config for `net`, so that invalid settings raise before training.

    The length of an epoch is not known before data are loaded; 1,000 steps are assumed.

    Returns:
        The optimizer, and its schedule or None for a constant learning rate.
    Raises:
        ValueError: torch rejects a setting of the optimizer or the schedule.
    """
    optimizer, schedule = build_optimizer(config)(net.parameters()), build_schedule(config)
    if schedule is None:
        return optimizer, None
    epochs = (config.get("trainer") or {}).get("max_epochs") or -1
    lengths = {
        "total_steps": _TRIAL_STEPS * (epochs if epochs > 0 else _TRIAL_EPOCHS),
        "steps_per_epoch": _TRIAL_STEPS,
    }
    return optimizer, schedule(optimizer, **{name: lengths[name] for name in required_lengths(schedule)})


def build_schedule(config: Config) -> Callable[..., LRScheduler] | None:
    """Return a function from an optimizer to its learning rate schedule, or None if the rate is constant."""
    return build_partial(config["schedule"], "schedule") if config.get("schedule") else None


def build_optimizer(config: Config) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """Return a function from parameters to the optimizer of the config."""
    optimizer = build_partial(config.get("optimizer"), "optimizer")
    for key, check in _OPTIMIZER.items():
        if key in config["optimizer"]:
            check(f"optimizer.{key}", config["optimizer"][key])
    return optimizer


def build(config: Config | None, group: str, /, **arguments: Any) -> Any:
    """Instantiate the `_target_` of one config group.

    Args:
        config: the node of the group; its keys are arguments of the target.
        group: name of the group, for error messages.
        arguments: further arguments of the target, which the config must not hold.
    Raises:
        ValueError: an unknown key, or any error in the call. The message begins with `group.key = value:` if the
            setting can be told.
    """
    check_keys(config, group, arguments)
    with name_group_in_errors(group, config):
        return instantiate(dict(config or {}), _convert_="all", **arguments)


def build_partial(config: Config | None, group: str) -> Callable[..., Any]:
    """Return the `_target_` of a config group as a function of its remaining arguments.

    Errors in the call become ValueErrors that name the group, as in `build`.
    """
    partial = build(config, group, _partial_=True)

    @wraps(partial)
    def call(*arguments: Any, **named: Any) -> Any:
        with name_group_in_errors(group, config):
            return partial(*arguments, **named)

    call.__name__ = config["_target_"] if config else ""
    return call
