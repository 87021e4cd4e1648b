"""The table of commands and their entry point: start-training COMMAND …, or python scripts/COMMAND.py …"""

import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from start_training.cli.help import command_help
from start_training.stop_signals import end_on_signals


@dataclass(frozen=True)
class Command:
    """A command: its line in the list of commands, and the function that runs it. help.yaml has the text of its --help.

    Functions are given by name and imported when they are called, since importing them takes as long as torch does.

    Args:
        line: one sentence for the list of commands.
        function: dotted name within this package.
        arguments: what the function is called with: "job": a Job and its DictConfig; "config": the DictConfig of a
            job; "words": the command-line arguments as strings.
        resume_hint: how to continue after an interruption, printed then; only with arguments="job".
        after: dotted name of a function that is called once, after all jobs of the command line; "": none.
    """

    line: str
    function: str
    arguments: Literal["job", "config", "words"] = "job"
    resume_hint: str = ""
    after: str = ""


COMMANDS = {
    "train": Command(
        "Train one net, or a sweep of nets with -m.",
        "cli.training_job.train_hydra_job",
        arguments="config",
    ),
    "simulate": Command(
        "Measure the layer lengths of many nets at initialization.",
        "studies.simulate.SIMULATE",
        after="studies.simulation_figure.draw_multirun_figures",
        resume_hint="run the same command again to continue; what has been sampled is kept",
    ),
    "diagnose": Command(
        "Predict whether a net will start training; exit status 3: no.",
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
        resume_hint="run the same command again to continue",
    ),
    "recipe": Command(
        "Tune by range tests and train, within a budget of epochs.",
        "studies.recipe.RECIPE",
        resume_hint="run the same command again to continue",
    ),
    "weight_decay": Command(
        "Find the weight decay that keeps a layer at the edge of chaos.",
        "studies.guideline.guideline.GUIDELINE",
        resume_hint="run the same command again to continue",
    ),
    "phase_diagram": Command(
        "Draw the ordered and the chaotic phase of a random layer's map.",
        "studies.phase_diagram.phase_diagram.PHASE_DIAGRAM",
        resume_hint="run the same command again to continue; finished matrices are kept",
    ),
    "picture": Command(
        "Draw one image's activations in a deep net, per initializer.",
        "studies.picture.PICTURE",
    ),
    "draw": Command(
        "Collect the runs of a sweep and draw its figure.",
        "cli.draw_command.main",
        arguments="words",
    ),
    "report": Command(
        "Write one HTML page about a run, sweep, study or diagnosis.",
        "cli.report_command.main",
        arguments="words",
    ),
    "evaluate": Command(
        "Rebuild the net of a run directory and test it again.",
        "cli.evaluate_command.main",
        arguments="words",
    ),
    "reproduce": Command(
        "Run a small experiment of a paper and check its claim.",
        "cli.reproduce_command.main",
        arguments="words",
    ),
}


def resolve_function(name: str) -> Callable[..., Any]:
    """Import a function of this package by its dotted name, such as "studies.search.SEARCH"."""
    return pkgutil.resolve_name(f"start_training.{name}")


def main(name: str | None = None) -> None:
    """Run a command with the arguments in `sys.argv`.

    Args:
        name: a key of `COMMANDS`; None: the first argument is the command.
    Raises:
        SystemExit: the exit status of the command is not 0.
    """
    end_on_signals()  # before the imports that take long
    from start_training.config.errors import run

    run(lambda: _call(name, sys.argv[1:]))


def _call(name: str | None, words: Sequence[str]) -> None:
    from importlib.metadata import version

    from start_training.settings import one_of

    if name is None:
        if not words or words[0] in ("-h", "--help"):
            print(_help())
            return
        if words[0] == "--version":
            print(version("how-to-start-training"))
            return
        name, words = one_of("command", words[0], COMMANDS), words[1:]
    if COMMANDS[name].arguments != "words" and {"-h", "--help"} & {*words}:
        print(command_help(name, words))
    elif status := run_command(name, words):
        sys.exit(status)


def run_command(name: str, words: Sequence[str]) -> int:
    """Run a command in this process.

    Args:
        name: a key of `COMMANDS`.
        words: its command-line arguments.
    Returns:
        The exit status, unless the command itself ends the process.
    """
    from start_training.cli.hydra_command import JobFunction, run_composed

    command = COMMANDS[name]
    if command.arguments == "words":
        resolve_function(command.function)(words)
        return 0
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # so that `_target_`s in the user's working directory can be imported
    hint = None if command.arguments == "config" else command.resume_hint
    status = run_composed(name, JobFunction(f"start_training.{command.function}", hint), words)
    if command.after:
        resolve_function(command.after)()
    return status


def _help() -> str:
    lines = [f"  {name:14} {command.line}" for name, command in COMMANDS.items()]
    return "\n".join([
        "usage: start-training COMMAND [KEY=VALUE …]", "help on one command: start-training COMMAND --help", "",
        *lines,
    ])  # fmt: skip
