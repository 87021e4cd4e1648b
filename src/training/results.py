"""The results of a run: what is printed when it has ended, and the number that sweepers compare."""

import sys
from collections.abc import Mapping
from typing import Any

from start_training.callbacks.contracts import call_implemented
from start_training.config.build_task import merit_of, own_module
from start_training.reports import run_clues, run_report
from start_training.reports.terminal import print_lines, print_table
from start_training.runs.directory import RunDirectory
from start_training.tasks.merit import Merit, objective
from start_training.training.record import Record, callbacks_of


def print_results(record: Record) -> None:
    """Print the results of a run on the terminal: tables and sentences, or a single line for a job of a sweep."""
    if message := missing_objective(record.summary, record.job.config):
        print(message, file=sys.stderr)
    summary, callbacks, in_sweep = record.summary, callbacks_of(record.trainer), record.job.sweep is not None
    steps, metrics = run_report.duration(summary), summary["metrics"] if summary["status"] == "completed" else {}
    sentences = [line for line in call_implemented(callbacks, "sentence", summary, short=in_sweep) if line]
    if in_sweep:
        scored = run_report.result_in_words(metrics, merit_of(record.job.config).score)
        result = [summary["status"], *filter(None, [scored]), *sentences]
        print_lines(f"{record.job.name}: {', '.join(result)}; {steps}")
        return
    if table := run_report.metrics_table(metrics):
        print_table(table)
    if record.lengths:
        print_table(run_report.lengths_table(record.lengths))
    ended = f"{summary['status']}: {summary['reason']}; {steps}"
    clues = f"clues: {run_clues.sentence(summary['clues'])}"
    for line in (*sentences, clues, ended, f"run directory: {run_report.relative(record.run.path)}"):
        if line != summary["reason"]:  # the line `ended` contains the reason
            print_lines(line)


def missing_objective(summary: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Return why a completed run has no objective, although one can be expected; None if it has one.

    One is expected where `monitor` was set, or the module is the user's; other runs may have no validation data.

    Args:
        summary: The content of summary.json.
        config: The config of the run.
    """
    merit, logged = merit_of(config), ", ".join(summary.get("metrics") or {})
    if summary.get("status") != "completed" or summary.get("objective") is not None:
        return None
    if merit.monitor == Merit.monitor and own_module(config) is None:
        return None
    choice = f"only {logged}; set monitor to one of them" if logged else "and no other metric; log it by self.log"
    return f"monitor = {merit.monitor}: was not logged, {choice}; this run has no objective"


def objective_of(run: RunDirectory, merit: Merit) -> float | None:
    """Return the objective of a finished run: infinite if it has diverged, None if it has not logged the metric.

    Args:
        run: The run's directory.
        merit: Names the metric.
    """
    summary = run.summary() if run.finished else None
    return objective(summary["metrics"], summary["status"], merit) if summary and "metrics" in summary else None
