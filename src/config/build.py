"""Build the objects that a plain config names: datamodule, net, initializers, optimizer and schedule."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from start_training.config.build_object import build, build_partial, forget_objects
from start_training.config.data_sizes import sizes_of
from start_training.config.mistakes import accepts, parameters_of, target_of
from start_training.initializers.drawing import FillTensor, name_of
from start_training.initializers.initialization import Initialization, LeftParameter
from start_training.initializers.initialize import initialize_
from start_training.initializers.materialize import materialize_, needs_batch
from start_training.models.run_length import required_lengths
from start_training.settings import checked, fraction, named_in, number_from_zero, positive_number, seed, settings_from

Config = Mapping[str, Any]
_TRIAL_STEPS, _TRIAL_EPOCHS = 1_000, 1_000_000  # steps per epoch, and epochs without max_epochs, in `try_training`
PASSED_TO_DATA = ("batch_size", "seed")  # settings that a datamodule gets only if it takes them
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


def build_datamodule(config: Config) -> Any:
    """Return the datamodule of `config["datamodule"]`, before it has loaded any data.

    `batch_size` and `seed` are passed only to a datamodule that takes them; one that takes a seed and is given none
    gets `config["seed"]`.

    Raises:
        ValueError: a setting is not allowed, or the object is no datamodule, which has a `train_dataloader`.
    """
    node = config.get("datamodule")
    target, settings = target_of(node, "datamodule"), dict(node or {})
    for name in PASSED_TO_DATA:
        if name in settings and not takes_setting(target, name):
            del settings[name]
    if "seed" in config and "seed" not in settings and "seed" in inspect.signature(target).parameters:
        settings["seed"] = config["seed"]
    datamodule = build(settings, "datamodule")
    if not is_overridden("train_dataloader", datamodule, pl.LightningDataModule):
        raise ValueError(
            f"datamodule._target_ = {settings['_target_']!r}: has no train_dataloader; must be a LightningDataModule "
            "that has one"
        )
    forget_objects(datamodule)
    return datamodule


def takes_setting(target: Any, name: str) -> bool:
    """Return whether a class or function takes a keyword argument of this name."""
    parameters = parameters_of(target)
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def build_net(config: Config, datamodule: Any) -> nn.Module:
    """Return the net of `config["model"]`, as `build_initialized` does."""
    return build_initialized(config, datamodule)[0]


def build_initialized(config: Config, datamodule: Any) -> tuple[nn.Module, Initialization]:
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
    return net, initialize_net(config, net, datamodule)


def initialize_net(config: Config, net: nn.Module, datamodule: Any) -> Initialization:
    """Initialize a net in place, as `build_initialized` does, and return what was drawn and left."""
    generator = torch.Generator().manual_seed(seed("seed", config["seed"]))
    initializer, readout_initializer = build_initializers(config)
    settings = settings_from(InitializeSettings, config.get("initialize") or {}, "initialize")
    batch = torch.zeros(2, *sizes_of(config, datamodule).input_shape) if needs_batch(net) else None
    if getattr(initializer, "mends", False):  # what the constructor has drawn, once data are there
        if given := [name for name, value in asdict(settings).items() if value]:
            raise ValueError(
                f"initialize.{given[0]}: not used with initializer=auto, which mends any layer; freeze those that have "
                "to stay"
            )
        materialize_(net, batch)
        return _as_constructed(net, readout_initializer)
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
    return drawn


def _as_constructed(net: nn.Module, readout_initializer: FillTensor | None) -> Initialization:
    """Return the initialization of a net whose weights are those that its constructor has drawn."""
    if readout_initializer is not None:
        raise ValueError("readout_initializer: must be null with initializer=auto, which mends the readout as well")
    left = [(name, "as constructed", one.numel()) for name, one in net.named_parameters()]
    return Initialization((), tuple(LeftParameter(*one, exempt=True, multiplies=True) for one in left))


def construct_net(config: Config, datamodule: Any) -> nn.Module:
    """Return the net of `config["model"]`, sized for data and task, with the weights drawn by its constructor.

    It gets `input_shape` if its constructor takes that, else `input_size`; and the number of outputs as `outputs`, or
    as `classes` if it takes that instead.
    """
    sizes, outputs = sizes_of(config, datamodule), "outputs"
    size = (
        {"input_shape": sizes.input_shape}
        if accepts(config.get("model"), "model", "input_shape")
        else {"input_size": int(torch.Size(sizes.input_shape).numel())}
    )
    if accepts(config.get("model"), "model", "classes") and not accepts(config.get("model"), "model", "outputs"):
        outputs = "classes"
    return build(config["model"], "model", **{outputs: sizes.outputs}, **size)


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
