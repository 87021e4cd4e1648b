"""Pictures as Hydra jobs: what each shows on the terminal."""

import math

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from start_training.cli.hydra_job import run_hydra_job
from start_training.figures.activations import mantissa_and_exponent
from start_training.figures.labels import label
from start_training.reports import run_report
from start_training.runs.job import Job
from start_training.studies.picture import Picture, picture
from start_training.tables import shown_layers


def picture_hydra_job(config: DictConfig) -> None:
    """Draw the picture that Hydra has composed, and show the lengths under its panels."""

    def work(job: Job) -> None:
        show(picture(job))

    run_hydra_job(config, work)


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
