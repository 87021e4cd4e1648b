"""Diagnose the net that a config describes: print the report, and say by the exit status whether it is healthy."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from start_training.config.build import build_datamodule, build_initializers, build_net
from start_training.config.mistakes import settings_in
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.diagnosis.diagnose import diagnose
from start_training.diagnosis.diagnosis import WIDTH, Diagnosis, render
from start_training.runs.directory import finite
from start_training.runs.job import Job
from start_training.settings import positive_integer, seed, whole_number
from start_training.theory.verdict import DEFAULTS, Thresholds

UNHEALTHY = 3


def diagnose_job(job: Job, config: DictConfig) -> int:
    """Diagnose the job's net and print the report; 0 where it is healthy, `UNHEALTHY` where not."""
    diagnosis = diagnose_config(job.config)
    show(diagnosis, " ".join(job.overrides))
    return 0 if diagnosis.healthy else UNHEALTHY


def diagnose_config(config: Mapping[str, Any]) -> Diagnosis:
    """The diagnosis of a plain config, written as JSON where `config["out"]` says.

    Raises ValueError for a setting that no diagnosis could use, OSError where the file cannot be written.
    """
    with settings_in(config):
        whole_number("nets", config["nets"], at_least=2)
        seed("seed", config["seed"])
        thresholds, modules = thresholds_of(config["thresholds"]), patterns(config["modules"])
        datamodule = build_datamodule(config)
        net = build_net(config, datamodule)
        initializer, readout_initializer = build_initializers(config)
        diagnosis = diagnose(
            net,
            batch_of(datamodule, positive_integer("samples", config["samples"]), config["seed"]),
            initializer=initializer,
            readout_initializer=readout_initializer,
            nets=config["nets"],
            thresholds=thresholds,
            modules=modules,
            seed=config["seed"],
        )
    if config["out"]:
        Path(config["out"]).write_text(json.dumps(as_plain(diagnosis), indent=1))
    return diagnosis


def batch_of(datamodule: Any, samples: int, seed: int) -> Tensor:
    """Inputs (samples, …) from the training set: chosen at random of a set in memory, else from the first batch."""
    datamodule.prepare_data()
    datamodule.setup("fit")
    if not isinstance(datamodule, TensorDataModule):
        return next(iter(datamodule.train_dataloader()))[0][:samples]
    inputs = datamodule.samples("training").inputs
    if samples > len(inputs):
        raise ValueError(f"samples = {samples}: larger than the {len(inputs)} training samples")
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    return inputs[order[:samples]]


def thresholds_of(config: object) -> Thresholds:
    """`DEFAULTS` with what the config sets. Raises ValueError for an unknown or impossible threshold."""
    defaults = asdict(DEFAULTS)
    if not isinstance(config, Mapping):
        raise ValueError(f"thresholds = {config!r}: must be set one by one, as thresholds.{next(iter(defaults))}=…")
    for key, value in config.items():
        if key not in defaults:
            raise ValueError(f"thresholds.{key} = {value!r}: no such setting; there are {', '.join(sorted(defaults))}")
    return Thresholds(**defaults | {str(key): value for key, value in config.items() if value is not None})


def patterns(modules: object) -> list[str] | None:
    """Checked name patterns."""
    if modules is None:
        return None
    if not isinstance(modules, list) or not all(isinstance(pattern, str) for pattern in modules):
        raise ValueError(f"modules = {modules!r}: must be a list of name patterns")
    return modules


def show(diagnosis: Diagnosis, overrides: str) -> None:
    """The report on the terminal, as wide as in an appendix where it is piped."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if overrides:
        console.print(overrides, style="bold", markup=False, highlight=False)
    console.print(render(diagnosis))


def as_plain(diagnosis: Diagnosis) -> dict[str, Any]:
    """All numbers of a diagnosis as plain data; what is not finite is None."""
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
