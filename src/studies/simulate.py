"""Sample many nets at initialization and measure the lengths of their layers."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from start_training.analysis.columns import check_chosen_columns
from start_training.analysis.sweep_table import override_settings
from start_training.config.build import build_datamodule, build_initializers, build_partial, construct_net
from start_training.config.mistakes import name_group_in_errors
from start_training.ensembles.layer_table import Law, layer_table
from start_training.ensembles.sample import Ensemble
from start_training.figures.mean_length import draw_simulation
from start_training.lengths.layer_choice import NoLayers
from start_training.models.law import law_of
from start_training.reports import run_report
from start_training.reports.terminal import print_lines, print_table
from start_training.runs.documents import read_csv
from start_training.runs.job import Job
from start_training.runs.table import Table
from start_training.settings import AtLeast, OneOf, PositiveInteger, Seed, checked
from start_training.studies.net_readings import readings_of
from start_training.studies.simulation_figure import remember_simulation
from start_training.studies.study import Results, Study
from start_training.training.process_settings import seed_global_generators

FLUSH_EVERY = 1.0  # seconds between two writes to disk; this much sampling is lost if the process is killed
Array = NDArray[np.float64]


def sampling_device(name: str, value: object) -> torch.device:
    """Constraint for the device: a CPU or CUDA GPU that this machine has."""
    try:
        device = torch.device(str(value))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"{name} = {value!r}: this machine has no such device; type {name}=cpu") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{name} = {value!r}: must be cpu or cuda")
    return device


@checked
@dataclass(frozen=True)
class SimulationSettings:
    """The settings of the simulation itself: keys of conf/simulate.yaml, which describes them."""

    seed: Seed
    nets: Annotated[int, AtLeast(2)]
    samples: PositiveInteger
    # Identifies simulations of this kind: those without this key gave all seeds the same inputs, shared by the nets.
    inputs: Annotated[str, OneOf(("fresh",))]
    sampler: str
    device: Annotated[torch.device, sampling_device]
    progress: bool
    figure: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        if self.figure:
            build_partial(self.figure, "figure")  # reports a mistake in the figure's config before hours of sampling


def run(settings: SimulationSettings, job: Job, config: DictConfig) -> Results:
    """Sample the nets that are not in the job's directory yet, and summarize the lengths of all nets by layer.

    The table lengths/ in the directory has a row for each net and a column for each layer with the log of its length.
    """
    if settings.figure and job.sweep is not None:
        check_chosen_columns(settings.figure, override_settings(job.overrides))
    ensemble, law, names = build_ensemble(settings, job.config)
    log_lengths, sampler = _sample_missing(settings, ensemble, job.directory, names)
    layers = layer_table(log_lengths, names, law)
    supposes: tuple[str, ...] = getattr(law, "supposes", ())
    summary = {
        "nets": len(log_lengths),
        "layers": names,
        "dead": float(np.isneginf(log_lengths[:, -1]).mean()),
        "sampler": sampler,
        "theory_supposes": list(supposes),
    }
    figure = draw_simulation(layers, nets=len(log_lengths), supposes=supposes, title=job.title)
    return Results(summary, {"layers.csv": layers}, {"lengths": figure})


def build_ensemble(settings: SimulationSettings, config: Mapping[str, Any]) -> tuple[Ensemble, Law | None, list[str]]:
    """Build the ensemble of nets that a config describes.

    Args:
        settings: The settings of the simulation.
        config: The plain config, with model, initializer and datamodule.

    Returns:
        The ensemble; the theoretical law of its lengths, or None if there is none; and the names of layers 0 … d.

    Raises:
        ValueError: A setting cannot be used, or the net cannot be measured or fails on its inputs.
    """
    seed_global_generators(settings.seed)  # constructors of nets may draw from the global generators
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    build = partial(construct_net, config, datamodule)
    initializer, readout_initializer = build_initializers(config)
    net = build()
    ensemble = Ensemble(
        build,
        initializer,
        lambda count, generator: datamodule.draw_inputs(count, generator).to(settings.device),
        seed=settings.seed,
        readout_initializer=readout_initializer,
        samples=settings.samples,
    )
    return ensemble, law_of(net, initializer), _names(net.to(settings.device), ensemble, config["model"])


@torch.no_grad()
def _names(net: nn.Module, ensemble: Ensemble, model: dict[str, Any]) -> list[str]:
    """Return the names of layers 0 … d of one net; raise ValueError if the net cannot be measured or run."""
    [inputs] = ensemble.inputs_of(range(1))
    failure = f"model = {model['_target_']}: its forward pass fails on {ensemble.samples} samples"
    try:
        return [reading.name for reading in readings_of(net, inputs, failure)]
    except NoLayers as error:
        with name_group_in_errors("model", model):
            raise error


def _sample_missing(
    settings: SimulationSettings, ensemble: Ensemble, directory: Path, names: list[str]
) -> tuple[Array, str]:
    """Sample the missing nets, and return the log lengths of all nets, shape (nets, layers), and the sampler's name.

    Args:
        settings: The settings of the simulation.
        ensemble: The nets to sample.
        directory: The job's directory, with the table lengths/ of nets that an earlier call has sampled.
        names: Names of the layers.
    """
    table, sampler = Table(directory / "lengths", key="net"), _usable(settings.sampler, ensemble)
    rows = table.read()
    done = 0 if rows is None else len(rows)
    waiting: list[Array] = []

    def flush() -> None:
        nonlocal done
        if waiting:
            lengths = np.concatenate(waiting)
            waiting.clear()
            columns = [str(layer) for layer in range(len(names))]
            table.append(pd.DataFrame(lengths, range(done, done + len(lengths)), columns).reset_index(names="net"))
            done += len(lengths)

    if done < settings.nets:
        since = time.monotonic()
        try:
            for block in _with_bar(ensemble.log_lengths(settings.nets, first=done, sampler=sampler), settings, done):
                waiting.append(block)
                if time.monotonic() - since > FLUSH_EVERY:
                    flush()
                    since = time.monotonic()
        finally:  # also after a signal, so that no sampled net is lost
            flush()
    table.compact()
    rows = table.read()
    assert rows is not None
    return rows.drop(columns="net").to_numpy(), sampler


def _usable(sampler: str, ensemble: Ensemble) -> str:
    """Replace "auto" by the name of the fastest sampler; raise ValueError if torch cannot vectorize the net."""
    if sampler not in ("auto", "vectorized"):
        return sampler
    fastest = ensemble.choose_sampler()
    if sampler == "vectorized" and fastest == "reference":
        raise ValueError("sampler = 'vectorized': torch cannot vectorize this net; type sampler=reference")
    return fastest if sampler == "auto" else sampler


def _with_bar(blocks: Iterator[Array], settings: SimulationSettings, done: int) -> Iterator[Array]:
    columns = (
        TextColumn("nets"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not settings.progress) as bar:
        task = bar.add_task("", total=settings.nets, completed=done)
        for block in blocks:
            bar.advance(task, len(block))
            yield block


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print the table of layers, or a single line if the job is part of a multirun.

    The job is also remembered for the figure of all jobs of the multirun, which is drawn after the last one.
    """
    remember_simulation(job)
    nets = f"{summary['nets']} nets in {summary['seconds']:.1f} s ({summary['sampler']}), {summary['dead']:.1%} dead"
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        print_lines(f"{job.name}: {nets}")
        return
    layers = read_csv(job.directory / "layers.csv", ["layer", "name"])
    print_table(run_report.layers_table(layers, summary["theory_supposes"]))
    print_lines(nets, f"directory: {run_report.relative(job.directory)}")


SIMULATE = Study(SimulationSettings, run, report)
