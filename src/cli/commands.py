"""Every command, and the one way in which they are started: start-training COMMAND …, or python scripts/COMMAND.py …"""

import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from start_training.cli.hydra_command import JobFunction, run_composed
from start_training.config.errors import run
from start_training.settings import one_of


@dataclass(frozen=True)
class Command:
    """What a command does, and the function that does it, which is imported when it is called: it waits for torch."""

    line: str
    function: str  # within this package: called with `arguments`
    arguments: Literal["job", "config", "words"] = "job"  # a job and its config; a job's config; the words typed
    go_on: str = ""  # what to do after a signal, where the function takes a job
    after: str = ""  # called once all jobs of a command line have ended


COMMANDS = {
    "train": Command(
        "Train one net, or with -m a sweep of them.",
        "cli.training_job.train_hydra_job",
        arguments="config",
    ),
    "simulate": Command(
        "Sample many nets and measure the lengths of their layers.",
        "studies.simulate.SIMULATE",
        after="studies.simulation_figure.draw_multirun_figures",
        go_on="the same command goes on from what has been sampled",
    ),
    "diagnose": Command(
        "Tell whether a net will start training; if not, exit status 3.",
        "studies.diagnose_config.diagnose_job",
    ),
    "range_test": Command(
        "Find the largest learning rate that a net can use.",
        "cli.training_job.train_hydra_job",
        arguments="config",
    ),
    "search": Command(
        "Choose weight decay, momentum or batch size by short runs.",
        "studies.search.SEARCH",
        go_on="the same command goes on",
    ),
    "recipe": Command(
        "Go from range tests to a trained net within a budget of epochs.",
        "studies.recipe.RECIPE",
        go_on="the same command goes on",
    ),
    "weight_decay": Command(
        "Find the weight decay that keeps a layer at the edge of chaos.",
        "studies.guideline.guideline.GUIDELINE",
        go_on="the same command goes on",
    ),
    "phase_diagram": Command(
        "Draw where a random layer's map is ordered and where chaotic.",
        "studies.phase_diagram.phase_diagram.PHASE_DIAGRAM",
        go_on="the same command goes on from the matrices that are done",
    ),
    "picture": Command(
        "Draw one image through one deep net, by several initializers.",
        "studies.picture.PICTURE",
    ),
    "draw": Command(
        "Collect the runs of a sweep and draw its figure.",
        "cli.draw_command.main",
        arguments="words",
    ),
    "evaluate": Command(
        "Rebuild a run from its directory and test it again.",
        "cli.evaluate_command.main",
        arguments="words",
    ),
}


def resolved(name: str) -> Callable[..., Any]:
    """A function of this package by its name."""
    return pkgutil.resolve_name(f"start_training.{name}")


def main(name: str | None = None) -> None:
    """Run a command with the words of the command line; without a name its first word is the command.

    Ends the process by SystemExit where the status is not 0.
    """
    run(lambda: _call(name, sys.argv[1:]))


def _call(name: str | None, words: Sequence[str]) -> None:
    if name is None:
        if not words or words[0] in ("-h", "--help"):
            print(_help())
            return
        if words[0] == "--version":
            print(version("how-to-start-training"))
            return
        name, words = one_of("command", words[0], COMMANDS), words[1:]
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a user's own nets lie, as for the processes that a command starts
    command = COMMANDS[name]
    if command.arguments == "words":
        resolved(command.function)(words)
        return
    job = None if command.arguments == "config" else command.go_on
    status = run_composed(name, JobFunction(f"start_training.{command.function}", job), words)
    if command.after:
        resolved(command.after)()
    if status:
        sys.exit(status)


def _help() -> str:
    lines = [f"  {name:14} {command.line}" for name, command in COMMANDS.items()]
    return "\n".join([
        "usage: start-training COMMAND [KEY=VALUE …]", "of each: start-training COMMAND --help", "",
        *lines,
    ])  # fmt: skip
