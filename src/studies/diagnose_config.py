"""Diagnose the net that a config describes, print the report, and return whether it is healthy as the exit status."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from start_training.config.build import build_datamodule, build_initializers, build_net, name_patterns
from start_training.config.mistakes import name_setting_in_errors
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.diagnosis.diagnose import diagnose
from start_training.diagnosis.diagnosis import WIDTH, Diagnosis, render
from start_training.files.replaced_file import replace_text
from start_training.runs.documents import finite
from start_training.runs.job import Job
from start_training.settings import AtLeast, PositiveInteger, Seed, checked, settings_from
from start_training.theory.verdict import DEFAULTS, Thresholds

UNHEALTHY = 3  # the exit status for a net that is not healthy


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


@checked
@dataclass(frozen=True)
class DiagnosisSettings:
    """The settings of the diagnosis itself: keys of conf/diagnose.yaml, which describes them."""

    seed: Seed
    nets: Annotated[int, AtLeast(2)]
    samples: PositiveInteger
    modules: Annotated[Sequence[str], name_patterns] | None
    thresholds: Annotated[Any, thresholds_of]  # given as a mapping, which the constraint turns into a `Thresholds`
    out: str | None


def diagnose_job(job: Job, config: DictConfig) -> int:
    """Diagnose the job's net, print the report, and return the exit status: 0 if healthy, otherwise `UNHEALTHY`."""
    diagnosis = diagnose_config(job.config)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)  # in a file, a width that fits a printed page
    if job.overrides:
        console.print(" ".join(job.overrides), style="bold", markup=False, highlight=False)
    console.print(render(diagnosis))
    return 0 if diagnosis.healthy else UNHEALTHY


def diagnose_config(config: Mapping[str, Any]) -> Diagnosis:
    """Diagnose the net that a plain config describes, and write the diagnosis to the JSON file `out` if that is set.

    Args:
        config: The plain config of the command diagnose.

    Raises:
        ValueError: A setting cannot be used.
        OSError: The file `out` cannot be written.
    """
    with name_setting_in_errors(config):
        settings = settings_from(DiagnosisSettings, config)
        datamodule = build_datamodule(config)
        net = build_net(config, datamodule)
        initializer, readout_initializer = build_initializers(config)
        diagnosis = diagnose(
            net,
            batch_of(datamodule, settings.samples, settings.seed),
            initializer=initializer,
            readout_initializer=readout_initializer,
            nets=settings.nets,
            thresholds=settings.thresholds,
            modules=settings.modules,
            seed=settings.seed,
        )
    if settings.out:
        if not Path(settings.out).parent.is_dir():
            raise ValueError(f"out = {settings.out}: must be a file in a directory that exists")
        replace_text(Path(settings.out), json.dumps(as_plain(diagnosis), indent=1))
    return diagnosis


def batch_of(datamodule: Any, samples: int, seed: int) -> Tensor:
    """Draw `samples` inputs from the training set: at random if it is in memory, otherwise from its first batch.

    Args:
        datamodule: The datamodule.
        samples: Number of inputs; a first batch that is smaller gives fewer.
        seed: Seed of the random choice.

    Returns:
        Inputs, shape (samples, …).

    Raises:
        ValueError: The training set in memory has fewer than `samples` samples.
    """
    datamodule.prepare_data()
    datamodule.setup("fit")
    if not isinstance(datamodule, TensorDataModule):
        return next(iter(datamodule.train_dataloader()))[0][:samples]
    inputs = datamodule.samples("training").inputs
    if samples > len(inputs):
        raise ValueError(f"samples = {samples}: must be at most {len(inputs)}, the number of training samples")
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    return inputs[order[:samples]]


def as_plain(diagnosis: Diagnosis) -> dict[str, Any]:
    """Convert a diagnosis to plain data for JSON, with None for numbers that are not finite."""
    measurement, predicted = diagnosis.measurement, diagnosis.predicted
    return finite(
        {
            "net": diagnosis.name,
            "healthy": diagnosis.healthy,
            "failure_modes": list(diagnosis.verdict.failure_modes),
            "by": "theory" if predicted else "measurement",
            "measured": asdict(diagnosis.measured),
            "predicted": predicted and asdict(predicted),
            "nets": measurement.nets,
            "layers": list(measurement.names),
            "forward": measurement.forward.log.tolist(),
            "backward": measurement.backward.log.tolist(),
            "silent": measurement.silent.tolist(),
            "advice": [asdict(advice) for advice in diagnosis.advice],
        }
    )
