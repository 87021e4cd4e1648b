"""Diagnose the net that a config describes: print the report; the exit status says whether the net is healthy."""

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

from start_training.config.build import build_datamodule, build_initializers, build_net
from start_training.config.mistakes import name_setting_in_errors
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.diagnosis.diagnose import diagnose
from start_training.diagnosis.diagnosis import WIDTH, Diagnosis, render
from start_training.runs.directory import finite
from start_training.runs.job import Job
from start_training.settings import AtLeast, PositiveInteger, Seed, checked, settings_from
from start_training.theory.verdict import DEFAULTS, Thresholds

UNHEALTHY = 3  # the exit status


def thresholds_of(name: str, config: object) -> Thresholds:
    """The constraint of the thresholds: `DEFAULTS` with what the config sets; null is not set."""
    defaults = asdict(DEFAULTS)
    if not isinstance(config, Mapping):
        raise ValueError(f"{name} = {config!r}: must be set one by one, as {name}.{next(iter(defaults))}=…")
    for key, value in config.items():
        if key not in defaults:
            raise ValueError(f"{name}.{key} = {value!r}: no such setting; there are {', '.join(sorted(defaults))}")
    return Thresholds(**defaults | {str(key): value for key, value in config.items() if value is not None})


def patterns(name: str, modules: object) -> list[str]:
    """The constraint of name patterns."""
    if not isinstance(modules, list) or not all(isinstance(pattern, str) for pattern in modules):
        raise ValueError(f"{name} = {modules!r}: must be a list of name patterns")
    return modules


@checked
@dataclass(frozen=True)
class DiagnosisSettings:
    """The keys of conf/diagnose.yaml that do not describe net or data; comments there describe them."""

    seed: Seed
    nets: Annotated[int, AtLeast(2)]
    samples: PositiveInteger
    modules: Annotated[Sequence[str], patterns] | None
    thresholds: Annotated[Any, thresholds_of]  # a `Thresholds`, built from what is set
    out: str | None


def diagnose_job(job: Job, config: DictConfig) -> int:
    """Diagnose the job's net and print the report; 0 if it is healthy, `UNHEALTHY` if not."""
    diagnosis = diagnose_config(job.config)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)  # as wide as in a paper's appendix
    if job.overrides:
        console.print(" ".join(job.overrides), style="bold", markup=False, highlight=False)
    console.print(render(diagnosis))
    return 0 if diagnosis.healthy else UNHEALTHY


def diagnose_config(config: Mapping[str, Any]) -> Diagnosis:
    """The diagnosis of the net of a plain config, written as JSON to the file `config["out"]` if that is set.

    Raises:
        ValueError: A setting cannot be used.
        OSError: The file cannot be written.
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
        Path(settings.out).write_text(json.dumps(as_plain(diagnosis), indent=1))
    return diagnosis


def batch_of(datamodule: Any, samples: int, seed: int) -> Tensor:
    """Inputs (samples, …) from the training set: drawn at random if it is in memory, else from the first batch."""
    datamodule.prepare_data()
    datamodule.setup("fit")
    if not isinstance(datamodule, TensorDataModule):
        return next(iter(datamodule.train_dataloader()))[0][:samples]
    inputs = datamodule.samples("training").inputs
    if samples > len(inputs):
        raise ValueError(f"samples = {samples}: larger than the {len(inputs)} training samples")
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    return inputs[order[:samples]]


def as_plain(diagnosis: Diagnosis) -> dict[str, Any]:
    """All numbers of a diagnosis as plain data, with None for numbers that are not finite."""
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
