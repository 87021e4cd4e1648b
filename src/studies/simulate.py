"""Sample many nets at initialization: from a job to a finished simulation in its directory."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import wandb
from numpy.typing import NDArray
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from start_training.config.build import build_datamodule, build_initializers, construct_net
from start_training.config.loggers import build_loggers, start_loggers
from start_training.config.mistakes import settings_in, settings_of
from start_training.ensembles.layer_table import Law, layer_table
from start_training.ensembles.sample import Ensemble
from start_training.figures.save import save_figure
from start_training.figures.simulation import draw_simulation
from start_training.lengths.capture import Capture
from start_training.models.law import law_of
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.outcome import Interrupted
from start_training.runs.table import Table
from start_training.settings import described, positive_integer, seed, whole_number
from start_training.training.train import seed_global_generators

FLUSH_EVERY = 1.0  # seconds: what a kill can cost
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Simulation:
    """A finished simulation: its job, lengths as log_lengths[net, layer], and what they say of each layer."""

    job: Job
    log_lengths: Array
    layers: pd.DataFrame
    summary: dict[str, Any]


def simulate(job: Job) -> Simulation:
    """Sample the nets of a job that are not in its directory yet, then write its tables, figure and summary.

    Directory: lengths/ (a row per net, a column per layer: log M), layers.csv, figures/lengths.png and .pdf,
    config.yaml, summary.json, written last. A signal leaves what was sampled, to go on from, and raises `Interrupted`.
    Raises ValueError for a setting that cannot be used, or a directory that holds something else.
    """
    config, run = job.config, RunDirectory(job.directory)
    run.claim(config)
    try:
        with settings_in(config):
            ensemble, law, names = build_ensemble(config)
            if not run.holds_results:
                run.begin(config)
            began = time.monotonic()
            log_lengths, sampler = _sample_missing(ensemble, job, run, names)
            summary = run.summary() or _summary(job, log_lengths, names, sampler, time.monotonic() - began)
            simulation = Simulation(job, log_lengths, layer_table(log_lengths, names, law), summary)
            _leave(simulation, run)
    except ValueError as error:
        if run.begun and not any((run.path / "lengths").glob("part-*.parquet")):  # leave the directory to any other
            run.write_summary({"status": "failed", "reason": f"ValueError: {error}", "steps": 0})
        raise
    finally:
        if wandb.run is not None:
            wandb.finish()
        run.release()
    return simulation


def build_ensemble(config: Any) -> tuple[Ensemble, Law | None, list[str]]:
    """The ensemble that a config describes, its law where theory knows one, and the names of layers 0 … d."""
    seed_global_generators(seed("seed", config["seed"]))  # of what a net's constructor draws for itself
    whole_number("nets", config["nets"], at_least=2)
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    build = partial(construct_net, config, datamodule)
    initializer, readout_initializer = build_initializers(config)
    net = build()
    inputs = datamodule.samples("training").inputs.to(_device(config["device"]))
    ensemble = Ensemble(
        build,
        initializer,
        inputs,
        seed=config["seed"],
        readout_initializer=readout_initializer,
        samples=positive_integer("samples", config["samples"]),
    )
    return ensemble, law_of(net, initializer), _names(net.to(inputs.device), ensemble, config["model"])


@torch.no_grad()
def _names(net: nn.Module, ensemble: Ensemble, model: dict[str, Any]) -> list[str]:
    """Of layers 0 … d, by a look at one net. Raises ValueError where it cannot be measured or run."""
    with settings_of("model", model):
        capture = Capture(net)
    [inputs] = ensemble.inputs_of(range(1))
    capture.start()
    try:
        net(inputs)
    except Exception as error:  # whatever a user's module raises
        raise ValueError(
            f"model = {model['_target_']}: fails on samples = {ensemble.samples} of shape {tuple(inputs.shape[1:])} "
            f"({described(error)})"
        ) from error
    return [reading.name for reading in capture.stop()]


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        raise ValueError(f"device = {name!r}: no such device here") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device = {name!r}: nets are sampled on cpu or cuda")
    return device


def _sample_missing(ensemble: Ensemble, job: Job, run: RunDirectory, names: list[str]) -> tuple[Array, str]:
    """log_lengths[net, layer] of all nets, and the sampler; those that an earlier call left are read."""
    table, nets = Table(run.path / "lengths", key="net"), job.config["nets"]
    rows = table.read()
    done = 0 if rows is None else len(rows)
    sampler = job.config["sampler"]
    if not run.summary_file.exists():  # which knows it
        sampler = _usable(sampler, ensemble)
    if done < nets:
        blocks = ensemble.log_lengths(nets, first=done, sampler=sampler)
        try:
            for lengths in _flushes(_with_bar(blocks, job, done, nets)):
                table.append(_rows(lengths, done, names))
                done += len(lengths)
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT) from None
    table.compact()
    rows = table.read()
    assert rows is not None
    return rows.drop(columns="net").to_numpy(), sampler


def _usable(sampler: str, ensemble: Ensemble) -> str:
    """The sampler asked for, or chosen. Raises ValueError for one that cannot run the net, which torch says late."""
    if sampler not in ("auto", "vectorized"):
        return sampler
    fastest = ensemble.choose_sampler()
    if sampler == "vectorized" and fastest == "reference":
        raise ValueError("sampler = 'vectorized': torch cannot vectorize this net; reference samples any")
    return fastest if sampler == "auto" else sampler


def _rows(lengths: Array, first: int, names: list[str]) -> pd.DataFrame:
    rows = pd.DataFrame(lengths, columns=[str(layer) for layer in range(len(names))])
    rows.insert(0, "net", range(first, first + len(lengths)))
    return rows


def _flushes(blocks: Iterator[Array]) -> Iterator[Array]:
    """Blocks joined to what a second has sampled; what is there when a signal comes is handed out before it."""
    waiting, since = [], time.monotonic()
    try:
        for block in blocks:
            waiting.append(block)
            if time.monotonic() - since > FLUSH_EVERY:
                yield np.concatenate(waiting)
                waiting, since = [], time.monotonic()
    except KeyboardInterrupt:
        if waiting:
            yield np.concatenate(waiting)
        raise
    if waiting:
        yield np.concatenate(waiting)


def _with_bar(blocks: Iterator[Array], job: Job, done: int, nets: int) -> Iterator[Array]:
    columns = (
        TextColumn("nets"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not job.config["progress"]) as bar:
        task = bar.add_task("", total=nets, completed=done)
        for block in blocks:
            bar.advance(task, len(block))
            yield block


def _summary(job: Job, log_lengths: Array, names: list[str], sampler: str, seconds: float) -> dict[str, Any]:
    return {
        "status": "completed",
        "nets": len(log_lengths),
        "layers": names,
        "dead": float(np.isneginf(log_lengths[:, -1]).mean()),
        "sampler": sampler,
        "seconds": round(seconds, 3),
        **job.origin,
    }


def _leave(simulation: Simulation, run: RunDirectory) -> None:
    """Tables, figure, W&B and, last, the summary; nothing new where the simulation was finished before."""
    if run.summary_file.exists():
        return
    job, layers = simulation.job, simulation.layers
    layers.to_csv(run.path / "layers.csv", index=False)
    files = save_figure(
        draw_simulation(layers, nets=len(simulation.log_lengths), title=job.name), run.path / "figures" / "lengths"
    )
    loggers = build_loggers(job, run)
    start_loggers(loggers, job.config)
    if any(isinstance(logger, WandbLogger) for logger in loggers) and wandb.run is not None:
        wandb.run.log({"lengths": wandb.Image(str(files[0])), "layers": wandb.Table(dataframe=layers)})
    run.write_summary(simulation.summary)
