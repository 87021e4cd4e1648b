"""Recipes as Hydra jobs: what each shows on the terminal."""

from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from start_training.cli.hydra_job import run_hydra_job
from start_training.config.composed import check_depth
from start_training.reports import run_report
from start_training.runs.job import Job
from start_training.studies.recipe import recipe


def recipe_hydra_job(config: DictConfig) -> None:
    """Follow the recipe that Hydra has composed, and show its report."""

    def work(job: Job) -> None:
        check_depth(job.config)
        text, console = recipe(job, config)["text"], Console()
        console.print(Markdown(text))
        console.print(f"figure: {run_report.relative(job.directory / 'figures' / 'recipe.png')}", soft_wrap=True)

    run_hydra_job(config, work, after_interrupt="the same command goes on")
