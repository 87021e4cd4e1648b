"""The weight-decay guideline as a Hydra job: what it shows on the terminal, and its exit status."""

from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from start_training.cli.hydra_job import run_hydra_job
from start_training.config.composed import check_depth
from start_training.reports import run_report
from start_training.runs.job import Job
from start_training.studies.guideline import guideline

DOES_NOT_APPLY = 3


def guideline_hydra_job(config: DictConfig) -> int:
    """Follow what Hydra has composed and show its report; 0 where there is a λ*, `DOES_NOT_APPLY` where there is none.

    A user's mistake ends the process with one line, in a multirun the job.
    """
    applied = []

    def work(job: Job) -> None:
        check_depth(job.config)
        summary, console = guideline(job, config), Console()
        applied.append(summary["applies"])
        if not summary["applies"]:
            text = f"the guideline does not apply: {summary['reason']}"
            console.print(text, soft_wrap=True, highlight=False, markup=False)
            return
        console.print(Markdown(summary["text"]))
        if (figure := job.directory / "figures" / "weight_decay.png").exists():
            console.print(f"figure: {run_report.relative(figure)}", soft_wrap=True)

    run_hydra_job(config, work, after_interrupt="the same command goes on")
    return 0 if all(applied) else DOES_NOT_APPLY
