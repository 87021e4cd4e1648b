"""Diagnose the net that a config describes, or one of the user's own, and print the report."""

import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from torch import nn

from start_training.config.build import build_datamodule, build_initializers, build_net, build_optimizer, name_patterns
from start_training.config.mistakes import name_setting_in_errors
from start_training.cure.cure import Cure
from start_training.cure.fix import fix_
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.diagnosis.diagnose import diagnose
from start_training.diagnosis.diagnosis import Diagnosis
from start_training.diagnosis.diagnosis_text import render
from start_training.diagnosis.trials.forward_batch import map_tensors
from start_training.files.replaced_file import replace_text, replaced
from start_training.initializers.drawing import FillTensor
from start_training.initializers.initialize import initialize_
from start_training.reports.terminal import wide_console
from start_training.runs.documents import finite
from start_training.runs.job import Job
from start_training.settings import AtLeast, PositiveInteger, Seed, checked, described, one_line, settings_from
from start_training.streams import isolate_random_streams
from start_training.theory.verdict import DEFAULTS, Thresholds


def thresholds_of(name: str, config: object) -> Thresholds:
    """Constraint for the thresholds: a mapping of names to numbers; a null or absent threshold gets its default."""
    defaults = asdict(DEFAULTS)
    if not isinstance(config, Mapping):
        raise ValueError(
            f"{name} = {config!r}: must be a mapping; set each threshold by its key, as {name}.{next(iter(defaults))}=5"
        )
    for key, value in config.items():
        if key not in defaults:
            raise ValueError(f"{name}.{key} = {value!r}: no such setting; there are {', '.join(sorted(defaults))}")
    return settings_from(
        Thresholds, {**defaults, **{key: config[key] for key in config if config[key] is not None}}, name
    )


def layers_of(name: str, value: object) -> str | list[str]:
    """Constraint for `layers`: a word, or a list of name patterns."""
    return value if isinstance(value, str) else name_patterns(name, value)


def steps_of(name: str, value: object) -> bool | int:
    """Constraint for `trial`: true, false, or a number of steps of at least 1."""
    if isinstance(value, bool) or (isinstance(value, int) and value > 0):
        return value
    raise ValueError(f"{name} = {value!r}: must be true, false, or a number of steps of at least 1")


@checked
@dataclass(frozen=True)
class DiagnosisSettings:
    """The settings of the diagnosis itself: keys of conf/diagnose.yaml, which describes them."""

    seed: Seed
    net: str | None
    batch: str | None
    loss: str | None
    trial: Annotated[Any, steps_of]
    nets: Annotated[int, AtLeast(2)]
    samples: PositiveInteger
    layers: Annotated[Any, layers_of]
    modules: Annotated[Sequence[str], name_patterns] | None
    fix: bool
    weights: str | None
    thresholds: Annotated[Any, thresholds_of]  # given as a mapping, which the constraint turns into a `Thresholds`
    out: str | None
    plot: str | None


def diagnose_job(job: Job, config: DictConfig) -> int:
    """Diagnose the job's net, print the report, and return the exit status, see `Diagnosis.exit_status`."""
    lines = list[str]()
    diagnosis = diagnose_config(job.config, typed=job.overrides, report=lines.append)
    console = wide_console()
    if job.overrides:
        console.print(" ".join(job.overrides), style="bold", markup=False, highlight=False)
    for line in lines:
        console.print(line, markup=False, highlight=False)
    console.print(render(diagnosis.report))
    return diagnosis.exit_status


def diagnose_config(
    config: Mapping[str, Any], *, typed: Sequence[str] = (), report: Callable[[str], object] = print
) -> Diagnosis:
    """Diagnose the net that a plain config describes, mend it if it says so, and write the files that it asks for.

    Args:
        config: The plain config of the command diagnose.
        typed: Overrides that were typed; the user's own net gets an initializer only if one is among them.
        report: Called with what `fix=true` has done to the net.

    Returns:
        The diagnosis; with `fix=true` that of the net after it was mended.

    Raises:
        ValueError: A setting cannot be used.
        OSError: A file cannot be written.
    """
    with name_setting_in_errors(config):
        settings = settings_from(DiagnosisSettings, config)
        if settings.weights and not settings.fix:
            raise ValueError(f"weights = {settings.weights}: is only used with fix=true")
        for name in ("out", "plot", "weights"):
            if (file := getattr(settings, name)) and not Path(file).parent.is_dir():
                raise ValueError(f"{name} = {file}: must be a file in a directory that exists")
        if settings.plot and Path(settings.plot).suffix not in (".png", ".pdf"):
            raise ValueError(f"plot = {settings.plot}: must end in .png or .pdf")
        net, batch = _net_and_batch(config, settings)
        of_own = settings.net is not None and not any(word.startswith("initializer") for word in typed)
        initializers = (None, None) if of_own else build_initializers(config)
        diagnosis, cure = _diagnosed(net, batch, settings, _optimizer(config, settings, typed), *initializers)
    if cure:
        report(str(cure))
    if settings.weights:
        with replaced(Path(settings.weights)) as partial:
            torch.save(net.state_dict(), partial)
    if settings.out:
        replace_text(Path(settings.out), json.dumps(finite(diagnosis.to_dict()), indent=1))
    if settings.plot:
        diagnosis.plot(settings.plot)
    return diagnosis


def _diagnosed(
    net: nn.Module,
    batch: Any,
    settings: DiagnosisSettings,
    optimizer: Any,
    *initializers: FillTensor | None,
) -> tuple[Diagnosis, Cure | None]:
    """Diagnose a net; with `fix=true` draw its weights, mend it, and return also what was done."""
    common: dict[str, Any] = {
        "loss": _loss(settings.loss),
        "optimizer": optimizer,
        "trial": settings.trial,
        "nets": settings.nets,
        "seed": settings.seed,
        "thresholds": settings.thresholds,
        "layers": settings.layers if settings.modules is None else settings.modules,
    }
    initializer, readout_initializer = initializers
    if not settings.fix:
        common |= {"initializer": initializer, "readout_initializer": readout_initializer}
        return diagnose(net, batch, **common), None
    if initializer is not None:
        generator = torch.Generator().manual_seed(settings.seed)
        initialize_(net, initializer, readout_initializer=readout_initializer, generator=generator)
    cure = fix_(net, batch, **common)
    return cure.after, cure


def _net_and_batch(config: Mapping[str, Any], settings: DiagnosisSettings) -> tuple[nn.Module, Any]:
    if settings.net is None:
        datamodule = build_datamodule(config)
        net = build_net(config, datamodule)
        if settings.batch is not None:
            return net, _called("batch", settings.batch)
        return net, batch_of(datamodule, settings.samples, settings.seed)
    with isolate_random_streams(torch.Generator().manual_seed(settings.seed)):
        net = _called("net", settings.net)
    if not isinstance(net, nn.Module):
        raise ValueError(f"net = {settings.net}: must be a torch.nn.Module or return one, not {type(net).__name__}")
    if settings.batch is None:
        raise ValueError(f"batch: must be set if net is, such as batch={settings.net.split(':')[0]}:batch")
    return net, _called("batch", settings.batch)


def _optimizer(config: Mapping[str, Any], settings: DiagnosisSettings, typed: Sequence[str]) -> Any:
    """Return the family of the optimizer that was chosen; the optimizer itself if one of its settings was typed."""
    chosen = config.get("optimizer")
    if chosen is None:
        return "sgd" if settings.net is None else None
    if any(word.lstrip("+").startswith("optimizer.") for word in typed):
        return build_optimizer(config)
    return "sgd" if chosen["_target_"].endswith("SGD") else "adam"


def _loss(name: str | None) -> Any:
    return named_object("loss", name) if name is not None and ":" in name else name


def _called(setting: str, name: str) -> Any:
    """Return an object by its name; what a function or class returns if it is one.

    Raises:
        ValueError: it cannot be imported, or the function fails.
    """
    found = named_object(setting, name)
    if not callable(found) or isinstance(found, nn.Module):
        return found
    try:
        return found()
    except Exception as error:  # the user's function may raise anything
        raise ValueError(f"{setting} = {name}: fails when called without arguments ({described(error)})") from error


def named_object(setting: str, name: str) -> Any:
    """Import an object, such as `my_package.nets:build`; modules may lie in the working directory.

    Raises:
        ValueError: there is no such module or attribute.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError(f"{setting} = {name}: must be package.module:attribute, as in my_package.nets:build")
    try:
        return pkgutil.resolve_name(name)
    except Exception as error:  # the user's module may raise anything
        raise ValueError(f"{setting} = {name}: cannot be imported ({one_line(error)})") from error


def batch_of(datamodule: Any, samples: int, seed: int) -> Any:
    """Draw `samples` samples of the training set: at random if it is in memory, otherwise from its first batch.

    Args:
        datamodule: The datamodule.
        samples: Number of samples; a first batch that is smaller gives fewer.
        seed: Seed of the random choice.

    Returns:
        Inputs, shape (samples, …), and targets, as a pair.

    Raises:
        ValueError: The training set in memory has fewer than `samples` samples.
    """
    datamodule.prepare_data()
    datamodule.setup("fit")
    if not isinstance(datamodule, TensorDataModule):
        return map_tensors(lambda tensor: tensor[:samples], next(iter(datamodule.train_dataloader())))
    inputs, targets = datamodule.samples("training")[:2]
    if samples > len(inputs):
        raise ValueError(f"samples = {samples}: must be at most {len(inputs)}, the number of training samples")
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))[:samples]
    return inputs[order], targets[order]
