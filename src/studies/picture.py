"""One image through one deep net, differently initialized: from a job to the figure in its directory."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import wandb
from matplotlib.figure import Figure
from omegaconf import DictConfig
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from start_training.config.build import build_datamodule, build_initializer, construct_net
from start_training.config.loggers import build_loggers, start_loggers
from start_training.config.mistakes import settings_in
from start_training.figures.activations import draw_activations, mantissa_and_exponent
from start_training.figures.labels import label
from start_training.figures.save import save_figure
from start_training.initializers.initialize import FillTensor, initialize_
from start_training.lengths.capture import Capture, Reading
from start_training.models.law import law_of
from start_training.reports import run_report
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.settings import described, seed, whole_number
from start_training.tables import shown_layers
from start_training.theory.convolutional import ConvolutionalLaw
from start_training.training.train import seed_global_generators

CHOSEN = 5  # layers, where the config chooses none
SAFE = (1e-30, 1e30)  # where float32 has all its digits


@dataclass(frozen=True)
class Picture:
    """A finished picture: its job, a row for each initializer and layer 0 … d with log M_j, and its summary."""

    job: Job
    lengths: pd.DataFrame
    summary: dict[str, Any]


def picture(job: Job) -> Picture:
    """Draw the picture of a job, unless it lies in its directory already.

    Directory: figures/activations.png and .pdf, lengths.csv, config.yaml, and summary.json, written last.
    Raises ValueError for a setting that cannot be used, or a directory that holds something else.
    """
    config, run = job.config, RunDirectory(job.directory)
    run.claim(config)
    try:
        table = run.path / "lengths.csv"
        if (summary := run.summary()) and table.exists():
            return Picture(job, pd.read_csv(table), summary)
        began = time.monotonic()
        with settings_in(config):
            lengths, figure = look(config)
            run.begin(config)
            lengths.to_csv(table, index=False)
            files = save_figure(figure, run.path / "figures" / "activations")
            loggers = build_loggers(job, run)
            start_loggers(loggers, job.config)
        if any(isinstance(logger, WandbLogger) for logger in loggers) and wandb.run is not None:
            wandb.run.log({"activations": wandb.Image(str(files[0])), "lengths": wandb.Table(dataframe=lengths)})
        finished = Picture(job, lengths, _summary(job, time.monotonic() - began))
        run.write_summary(finished.summary)
    finally:
        if wandb.run is not None:
            wandb.finish()
        run.release()
    return finished


def look(config: Mapping[str, Any]) -> tuple[pd.DataFrame, Figure]:
    """The lengths of all layers of each initializer's net, and the figure. Raises ValueError for unusable settings."""
    seed("seed", config["seed"])
    datamodule = build_datamodule(config)
    image = image_of(datamodule, config["image"])
    tables, activations, log_lengths, layers = [], {}, {}, []
    for name, initializer in _initializers(config).items():
        readings, predicted = pass_through(config, datamodule, initializer, image)
        layers = chosen_layers(config["layers"], len(readings) - 1)
        table = _table(name, readings, predicted)
        tables.append(table)
        activations[name] = [_maps(readings[layer], layer) for layer in layers]
        log_lengths[name] = table["log_length"].iloc[[0, *layers]].tolist()
    title = f"Test image {config['image']} of {type(datamodule).__name__} through {len(tables[0]) - 1} layers"
    figure = draw_activations(image[0].numpy(), activations, log_lengths, layers, title=title)
    return pd.concat(tables, ignore_index=True), figure


@torch.no_grad()
def pass_through(
    config: Mapping[str, Any], datamodule: Any, initializer: FillTensor, image: Tensor
) -> tuple[list[Reading], np.ndarray | None]:
    """The activations of layers 0 … d for one image (1, …), and log E[M_j] of layers 1 … d where theory knows it.

    The net is the one that scripts/train.py begins with at this seed. Where float32 cannot hold its activations,
    the same weights are used in float64, whose range a thousand layers of twice the critical variance do not leave.
    """
    seed_global_generators(config["seed"])  # of what the constructor draws for itself: the same in every row
    net = construct_net(config, datamodule)
    initialize_(net, initializer, generator=torch.Generator().manual_seed(config["seed"]))
    law, readings = law_of(net, initializer), _readings(net, image, config["model"]["_target_"])
    if not all(SAFE[0] < float(reading.lengths.abs().max()) < SAFE[1] for reading in readings):
        readings = _readings(net.double(), image.double(), config["model"]["_target_"])
    if isinstance(law, ConvolutionalLaw):
        law = replace(law, profile=image[0].double().square().mean(0).numpy())
    predicted = law.log_mean_length(log_length(readings[0].lengths)) if law else None
    return readings, predicted if predicted is not None and len(predicted) == len(readings) - 1 else None


def _readings(net: nn.Module, image: Tensor, name: str) -> list[Reading]:
    capture = Capture(net, measure=lambda activation: activation)
    capture.start()
    try:
        net(image)
    except Exception as error:  # whatever a user's module raises
        shape = tuple(image.shape[1:])
        raise ValueError(f"model = {name}: fails on an image of shape {shape} ({described(error)})") from error
    finally:
        capture.remove()
    return capture.stop()


def log_length(activation: Tensor) -> float:
    """log(‖act‖² / n) of an activation, beyond where its square overflows; −inf for a dead one."""
    activation = activation.double()
    largest = float(activation.abs().max())
    if not 0 < largest < math.inf:
        return -math.inf if largest == 0 else largest
    return 2 * math.log(largest) + math.log(float((activation / largest).square().mean()))


def chosen_layers(layers: object, depth: int) -> list[int]:
    """The layers to show: as the config lists them, or `CHOSEN` from the first to the last in equal ratios.

    Raises ValueError for anything but a list of layers of 1 … depth.
    """
    if layers is None:
        return sorted(set(np.geomspace(1, depth, min(CHOSEN, depth)).round().astype(int).tolist()))
    if not isinstance(layers, Sequence) or isinstance(layers, str) or not layers:
        raise ValueError(f"layers = {layers!r}: must be a list of layers, or null for {CHOSEN} of them")
    for layer in layers:
        if whole_number("layers", layer, at_least=1) > depth:
            raise ValueError(f"layers = {layer}: must be at most {depth}, the last layer that is measured")
    return list(layers)


def image_of(datamodule: Any, index: object) -> Tensor:
    """Image number `index` of the test set, (1, …). Raises ValueError for a number that it does not have."""
    datamodule.prepare_data()
    images, number = datamodule.samples("test").inputs, whole_number("image", index)
    if number >= len(images):
        raise ValueError(f"image = {number}: must be below {len(images)}, the number of test images")
    return images[number : number + 1].cpu()


def _initializers(config: Mapping[str, Any]) -> dict[str, FillTensor]:
    nodes = {name: node for name, node in (config.get("initializers") or {}).items() if node is not None}
    if not nodes:
        raise ValueError("initializers = none: must name at least one, as +initializer@initializers.NAME=NAME")
    return {str(name): build_initializer(node, f"initializers.{name}") for name, node in nodes.items()}


def _maps(reading: Reading, layer: int) -> np.ndarray:
    if reading.lengths.dim() != 4:
        shape = tuple(reading.lengths.shape[1:])
        raise ValueError(
            f"layers = {layer}: {reading.name} is of shape {shape}, where a picture needs channels, height and width"
        )
    return reading.lengths[0].numpy()


def _table(name: str, readings: list[Reading], predicted: np.ndarray | None) -> pd.DataFrame:
    logs = [log_length(reading.lengths) for reading in readings]
    names = [reading.name for reading in readings]
    table = pd.DataFrame({"initializer": name, "layer": range(len(names)), "name": names, "log_length": logs})
    return table if predicted is None else table.assign(log_mean_theory=[logs[0], *predicted])


def _summary(job: Job, seconds: float) -> dict[str, Any]:
    return {
        "status": "completed",
        "image": job.config["image"],
        "seconds": round(seconds, 3),
        **job.origin,
    }


def picture_job(job: Job, config: DictConfig) -> None:
    """Draw the job's picture, and show the lengths under its panels."""
    show(picture(job))


def show(finished: Picture) -> None:
    """The lengths, where the picture lies, and what it took."""
    console, directory = Console(), finished.job.directory
    console.print(lengths_table(finished.lengths))
    console.print(f"one image, {finished.summary['seconds']:.1f} s", highlight=False)
    console.print(f"figure: {run_report.relative(directory / 'figures' / 'activations.png')}", soft_wrap=True)


def lengths_table(lengths: pd.DataFrame) -> Table:
    """Per layer the length at each initialization, and below it the mean over nets in theory of the last layer."""
    options = lengths["initializer"].unique().tolist()
    table = Table("layer", title="Activation length ‖act‖²/n of one image", title_justify="left")
    for option in options:
        table.add_column(label(option), justify="right")
    logs = lengths.pivot(index="layer", columns="initializer", values="log_length")[options].to_numpy()
    for layer in shown_layers(len(logs)):
        table.add_row(str(layer), *map(_scientific, logs[layer]))
    if "log_mean_theory" in lengths:
        table.add_section()
        theory = lengths[lengths["layer"] == lengths["layer"].max()].set_index("initializer")["log_mean_theory"]
        table.add_row("theory", *(_scientific(float(theory[option])) for option in options))
        table.caption = f"theory: mean over nets of layer {len(logs) - 1}"
    return table


def _scientific(log_length: float) -> str:
    if math.isnan(log_length):
        return "—"
    if not math.isfinite(log_length):
        return "0" if log_length < 0 else "∞"
    mantissa, exponent = mantissa_and_exponent(log_length)
    return f"{np.exp(log_length):.2g}" if -3 <= exponent <= 1 else f"{mantissa:.1f}e{exponent:+d}"
