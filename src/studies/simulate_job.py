"""What a simulation shows on the terminal, and the figure of a whole sweep at its end."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from start_training.config.build import build_partial
from start_training.reports import run_report
from start_training.runs.job import Job
from start_training.studies.simulate import Simulation, simulate
from start_training.studies.simulation_figure import draw_sweep_figure


@dataclass
class _Sweep:
    """What the jobs of a command line leave for the figure of them all."""

    directory: Path
    name: str
    config: dict[str, Any]
    simulations: list[Simulation] = field(default_factory=list)


_sweeps: dict[Path, _Sweep] = {}


def simulate_job(job: Job, config: DictConfig) -> None:
    """Simulate the job, and show what came out: a table, in a sweep one line."""
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    if not in_sweep or hydra.job.num == 0:
        _sweeps.clear()  # of an earlier command line in this process
    directory = Path(hydra.runtime.cwd, hydra.sweep.dir if in_sweep else hydra.runtime.output_dir)
    name = str(hydra.runtime.choices.get("experiment") or "figure").rpartition("/")[2]
    if job.config["figure"]:
        build_partial(job.config["figure"], "figure")  # what is wrong with it is not to be said after hours
    simulation = simulate(job)
    if job.config["figure"]:
        _sweeps.setdefault(directory, _Sweep(directory, name, dict(job.config))).simulations.append(simulation)
    show(simulation, in_sweep=in_sweep)


def draw_figure_of_all() -> None:
    """Draw the figure that the jobs of the last command line ask for, if they do."""
    for sweep in _sweeps.values():
        files = draw_sweep_figure(sweep.simulations, sweep.config, sweep.directory, sweep.name)
        Console().print(f"figure: {', '.join(str(run_report.relative(file)) for file in files)}", soft_wrap=True)


def show(simulation: Simulation, *, in_sweep: bool) -> None:
    """The simulation's results, for the terminal."""
    console, summary = Console(), simulation.summary
    nets = f"{summary['nets']} nets in {summary['seconds']:.1f} s ({summary['sampler']}), {summary['dead']:.1%} dead"
    if in_sweep:
        console.print(f"{simulation.job.name}: {nets}", soft_wrap=True, highlight=False)
        return
    console.print(run_report.layers_table(simulation.layers))
    console.print(nets, highlight=False)
    console.print(f"directory: {run_report.relative(simulation.job.directory)}", soft_wrap=True)
