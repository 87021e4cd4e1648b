"""Pass one image through a deep net for several initializations, and draw the activations of some of its layers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from rich.table import Table
from torch import Tensor, nn

from start_training.config.build import build_datamodule, build_initializer, construct_net
from start_training.figures.activations import draw_activations, mantissa_and_exponent
from start_training.figures.labels import label
from start_training.initializers.drawing import FillTensor
from start_training.initializers.initialize import initialize_
from start_training.lengths.capture import LayerReading
from start_training.models.law import law_of
from start_training.reports.terminal import print_lines, print_table
from start_training.runs.documents import read_csv
from start_training.runs.job import Job
from start_training.settings import Seed, WholeNumber, checked, positive_integer
from start_training.studies.net_readings import readings_of
from start_training.studies.study import Results, Study, print_figures
from start_training.tables import shown_layers, theory_heading
from start_training.theory.convolutional import ConvolutionalLaw
from start_training.training.process_settings import seed_global_generators

DEFAULT_LAYERS = 5  # number of layers shown if the config does not list layers
FLOAT32_RANGE = (1e-30, 1e30)  # range of absolute values in which float32 has full precision, with a margin
SHOWN = 5  # largest number of initializers in one table, which then fits in 80 columns
Config = Mapping[str, Any]


def layer_numbers(name: str, layers: object) -> list[int]:
    """Constraint for the layers to show: a list of layer numbers of at least 1."""
    if not isinstance(layers, Sequence) or isinstance(layers, str) or not layers:
        raise ValueError(
            f"{name} = {layers!r}: must be a list of numbers, as {name}=[1,9], or null for {DEFAULT_LAYERS} layers"
        )
    return [positive_integer(name, layer) for layer in layers]


def named_initializers(name: str, nodes: object) -> dict[str, FillTensor]:
    """Constraint for the initializers: a mapping of names to configs, at least one. Returns initializers by name."""
    if not isinstance(nodes, Mapping | None):
        raise ValueError(
            f"{name} = {nodes!r}: must be a mapping of names to initializers; type +initializer@{name}.NAME=NAME"
        )
    given = {key: node for key, node in (nodes or {}).items() if node is not None}
    if not given:
        raise ValueError(f"{name} = none: must have at least one initializer; type +initializer@{name}.NAME=NAME")
    return {str(key): build_initializer(node, f"{name}.{key}") for key, node in given.items()}


@checked
@dataclass(frozen=True)
class PictureSettings:
    """The settings of the picture itself: keys of conf/picture.yaml, which describes them."""

    seed: Seed
    image: WholeNumber
    layers: Annotated[Sequence[int], layer_numbers] | None
    initializers: Annotated[Mapping[str, FillTensor], named_initializers]


def run(settings: PictureSettings, job: Job, config: DictConfig) -> Results:
    """Pass the image through one net for each initializer, and draw the activations."""
    datamodule = build_datamodule(job.config)
    image = image_of(datamodule, settings.image)
    tables, activations, log_lengths, layers = [], {}, {}, []
    supposes: tuple[str, ...] = ()
    for name, initializer in settings.initializers.items():
        readings, predicted, supposes = pass_through(job.config, datamodule, initializer, image)
        layers = chosen_layers(settings.layers, len(readings) - 1)
        table = _table(name, readings, predicted)
        tables.append(table)
        activations[name] = [_maps(readings[layer], layer) for layer in layers]
        log_lengths[name] = table["log_length"].iloc[[0, *layers]].tolist()
    title = f"Test image {settings.image} of {type(datamodule).__name__} through {len(tables[0]) - 1} layers"
    figure = draw_activations(image[0].numpy(), activations, log_lengths, layers, title=title)
    lengths = pd.concat(tables, ignore_index=True)
    summary = {"image": settings.image, "theory_supposes": list(supposes)}
    return Results(summary, {"lengths.csv": lengths}, {"activations": figure})


@torch.no_grad()
def pass_through(
    config: Config, datamodule: Any, initializer: FillTensor, image: Tensor
) -> tuple[list[LayerReading], np.ndarray | None, tuple[str, ...]]:
    """Compute the activations of all layers of one net for one image.

    The net has the weights with which the command train would start for the same seed. If the activations exceed the
    range of float32, the same weights are used in float64, whose range suffices for a thousand layers with twice the
    critical variance.

    Args:
        config: The plain config, with `model` and `seed`.
        datamodule: The datamodule that the net is constructed for.
        initializer: The initializer that draws the weights.
        image: The image, shape (1, …).

    Returns:
        Readings of layers 0 … d, whose `lengths` hold the activations themselves; the predicted log E[M_j] of
        layers 1 … d, or None if theory has no prediction for the net; and what the prediction supposes.
    """
    # Constructors of nets may draw from the global generators, and must draw the same for each initializer.
    seed_global_generators(config["seed"])
    net = construct_net(config, datamodule)
    initialize_(net, initializer, generator=torch.Generator().manual_seed(config["seed"]))
    law, readings = law_of(net, initializer), _readings(net, image, config["model"]["_target_"])
    if not all(FLOAT32_RANGE[0] < float(reading.lengths.abs().max()) < FLOAT32_RANGE[1] for reading in readings):
        readings = _readings(net.double(), image.double(), config["model"]["_target_"])
    if isinstance(law, ConvolutionalLaw):
        law = replace(law, profile=image[0].double().square().mean(0).numpy())
    predicted = law.log_mean_length(log_length(readings[0].lengths)) if law else None
    if predicted is None or len(predicted) != len(readings) - 1:
        return readings, None, ()
    return readings, predicted, getattr(law, "supposes", ())


def _readings(net: nn.Module, image: Tensor, name: str) -> list[LayerReading]:
    failure = f"model = {name}: its forward pass fails on an image"
    return readings_of(net, image, failure, measure=lambda activation: activation)


def log_length(activation: Tensor) -> float:
    """Compute log(‖act‖² / n) of an activation with n entries, without overflow of the square; −inf if all are 0.

    Example:
        >>> log_length(torch.ones(1, 3))
        0.0
    """
    activation = activation.double()
    largest = float(activation.abs().max())
    if not 0 < largest < math.inf:
        return -math.inf if largest == 0 else largest
    return 2 * math.log(largest) + math.log(float((activation / largest).square().mean()))


def chosen_layers(layers: Sequence[int] | None, depth: int) -> list[int]:
    """Return the numbers of the layers whose activations are drawn.

    Args:
        layers: The layers given by the config; None chooses `DEFAULT_LAYERS` layers, geometrically spaced.
        depth: Number of layers of the net.

    Raises:
        ValueError: A layer number is above `depth`.
    """
    if layers is None:
        return sorted(set(np.geomspace(1, depth, min(DEFAULT_LAYERS, depth)).round().astype(int).tolist()))
    if max(layers) > depth:
        raise ValueError(f"layers = {max(layers)}: must be at most {depth}, the number of the last measured layer")
    return list(layers)


def image_of(datamodule: Any, number: int) -> Tensor:
    """Return image `number` of the test set, shape (1, …).

    Raises:
        ValueError: The test set has too few images.
    """
    datamodule.prepare_data()
    images = datamodule.samples("test").inputs
    if number >= len(images):
        raise ValueError(f"image = {number}: must be below {len(images)}, the number of test images")
    return images[number : number + 1].cpu()


def _maps(reading: LayerReading, layer: int) -> np.ndarray:
    if reading.lengths.dim() != 4:
        shape = tuple(reading.lengths.shape[1:])
        raise ValueError(
            f"layers = {layer}: must be a layer with output (channels, height, width); {reading.name} has shape {shape}"
        )
    return reading.lengths[0].numpy()


def _table(name: str, readings: list[LayerReading], predicted: np.ndarray | None) -> pd.DataFrame:
    logs = [log_length(reading.lengths) for reading in readings]
    names = [reading.name for reading in readings]
    table = pd.DataFrame({"initializer": name, "layer": range(len(names)), "name": names, "log_length": logs})
    return table if predicted is None else table.assign(log_mean_theory=[logs[0], *predicted])


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print the table of lengths and the path of the picture."""
    lengths = read_csv(job.directory / "lengths.csv", ["layer"])
    options = lengths["initializer"].unique()
    for first in range(0, len(options), SHOWN):
        shown = lengths["initializer"].isin(options[first : first + SHOWN])
        print_table(lengths_table(lengths[shown], summary["theory_supposes"]))
    print_lines(f"passed one image through all nets in {summary['seconds']:.1f} s")
    print_figures(job.directory)


def lengths_table(lengths: pd.DataFrame, supposes: Sequence[str] = ()) -> Table:
    """Format lengths.csv as a table to print.

    It has a column for each initializer, a row for each layer shown, and a last row with the theoretical mean length of
    the last layer if theory has one.

    Args:
        lengths: The content of lengths.csv.
        supposes: What the predictions suppose, the attribute `supposes` of the law.
    """
    options = lengths["initializer"].unique().tolist()
    table = Table("layer", title="Activation length ‖act‖²/n of one image", title_justify="left")
    for option in options:
        table.add_column(label(option).replace(" ", "\n"), justify="right", no_wrap=True)
    logs = lengths.pivot(index="layer", columns="initializer", values="log_length")[options].to_numpy()
    for layer in shown_layers(len(logs)):
        table.add_row(str(layer), *map(_scientific, logs[layer]))
    if "log_mean_theory" in lengths:
        table.add_section()
        theory = lengths[lengths["layer"] == lengths["layer"].max()].set_index("initializer")["log_mean_theory"]
        table.add_row(theory_heading(supposes), *(_scientific(float(theory[option])) for option in options))
        table.caption = f"theory: mean length of layer {len(logs) - 1} over random nets"
    return table


def _scientific(log_length: float) -> str:
    if math.isnan(log_length):
        return "—"
    if not math.isfinite(log_length):
        return "0" if log_length < 0 else "∞"
    mantissa, exponent = mantissa_and_exponent(log_length)
    return f"{np.exp(log_length):.2g}" if -3 <= exponent <= 1 else f"{mantissa:.1f}e{exponent:+d}"


PICTURE = Study(PictureSettings, run, report)
