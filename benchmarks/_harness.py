"""What every benchmark shares: its options, the terminal, tables, and the JSON file of what was measured."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from start_training.runs.directory import finite
from start_training.runs.outcome import Interrupted
from start_training.settings import one_of, positive_integer

T = TypeVar("T")
Columns = Mapping[str, str | Callable[[Mapping[str, Any]], str]]
ROOT = Path(__file__).parents[1]


def environment(device: str, **more: Any) -> dict[str, Any]:
    """What results depend on besides the code; `load` is what else ran in the minute before."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **more,
        "load": round(os.getloadavg()[0], 1),
    }


def check_device(device: str, *, advice: str = "") -> str:
    """The device, if it is `cpu`, or `cuda` where torch finds a GPU. Raises ValueError, which ends with `advice`."""
    if one_of("device", device, ("cpu", "cuda")) == "cuda" and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        raise ValueError(f"device = cuda: torch {torch.__version__}, built for {built}, finds no GPU here{advice}")
    return device


class Session:
    """One call of a benchmark: its options and device, the terminal, and what has been measured so far."""

    def __init__(self, options: argparse.Namespace, width: int) -> None:
        self.options = options
        self.device = check_device(getattr(options, "device", "cpu"))
        if options.threads is not None:
            torch.set_num_threads(positive_integer("threads", options.threads))
        self.console = Console(width=max(Console().width, width))
        self.environment = environment(self.device)
        self.results: dict[str, Any] = {}

    def measure(self, name: str, function: Callable[..., T], *arguments: Any, key: str = "", **more: Any) -> T:
        """Return what `function` measures; it is added to the results, and they are written.

        Args:
            name: What the terminal shows while the function runs.
            function: Called with `arguments` and `more`; returns plain data, a list where it has several entries.
            key: The entry of the JSON file that is what was measured; by default it goes into the list `results`.
        """
        with self.console.status(name):
            measured = function(*arguments, **more)
        if key:
            self.results[key] = measured
        else:
            self.results.setdefault("results", []).extend(measured if isinstance(measured, list) else [measured])
        self.write()
        return measured

    def write(self) -> None:
        """Write the results so far to the JSON file of --out."""
        if self.options.out:
            write_json(self.options.out, {"environment": self.environment, **self.results})

    def print(self, *renderables: Any) -> None:
        """Print tables, and lines of text however long they are."""
        for renderable in renderables:
            self.console.print(renderable, soft_wrap=isinstance(renderable, str), highlight=False)


def benchmark(
    *, quick: str, on_gpu: bool = True, width: int = 80, **options: Mapping[str, Any]
) -> Callable[[Callable[[Session], None]], Callable[[Sequence[str]], None]]:
    """Make a function that measures in a `Session` the `main` of its module, which takes the command line's words.

    What was measured before an error or Ctrl-C is in the JSON file, and the environment is printed at every end.

    Args:
        quick: What --quick measures, for the help.
        on_gpu: Whether the benchmark has the option --device; without it, it runs on a CPU.
        width: Columns of the tables where no terminal says how wide it is.
        options: Further options, by name: the arguments of `add_argument`.
    """

    def decorate(measure: Callable[[Session], None]) -> Callable[[Sequence[str]], None]:
        device = {"device": {"default": "cpu", "help": "cpu (default) or cuda"}} if on_gpu else {}
        standard: dict[str, Mapping[str, Any]] = {
            "quick": {"action": "store_true", "help": quick},
            "threads": {"type": int, "help": "of torch; its own choice by default"},
            "out": {"type": Path, "help": "a JSON file for the numbers"},
        }
        parser = option_parser(measure.__module__, {**standard, **device, **options})

        @wraps(measure)
        def main(arguments: Sequence[str]) -> None:
            session = Session(parser.parse_args(arguments), width)
            try:
                measure(session)
            except Interrupted as interruption:  # a job's checkpoint was in a temporary directory
                sys.exit(interruption.exit_status)
            finally:
                session.print(", ".join(f"{key} {value}" for key, value in session.environment.items()))
                session.write()

        return main

    return decorate


def option_parser(module: str, options: Mapping[str, Mapping[str, Any]]) -> argparse.ArgumentParser:
    """The command line of a benchmark's module, described by its docstring; options as `benchmark` takes them."""
    parser = argparse.ArgumentParser(
        prog=f"benchmark.py {module.rpartition('.')[2]}",
        description=sys.modules[module].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option, settings in options.items():
        parser.add_argument(f"--{option.replace('_', '-')}", **settings)
    return parser


def results_table(
    title: str,
    columns: Columns,
    rows: Iterable[Mapping[str, Any]],
    *,
    words: int = 1,
    caption: str | None = None,
) -> Table:
    """A table with one row per result.

    Args:
        title: Above the table.
        columns: By heading, the format of a row's entries, such as `{ratio:.2f}`, or a function of the row.
        rows: The results.
        words: How many of the first columns hold words; the others hold numbers.
        caption: Below the table.
    """
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE)
    for index, heading in enumerate(columns):
        table.add_column(heading, justify="left" if index < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell.format(**row) if isinstance(cell, str) else cell(row) for cell in columns.values()))
    return table


def met(is_met: bool) -> str:
    """In words whether a goal is reached."""
    return "met" if is_met else "missed"


def goal_cell(form: str = "{goal}") -> Callable[[Mapping[str, Any]], str]:
    """A column of `results_table`: a row's `goal` in this format, and whether it is `met`; empty without a goal."""
    return lambda row: f"{form.format(**row)} {met(row['met'])}" if row["goal"] else ""


def write_json(file: Path, content: Any) -> None:
    """Replace a file in one step, so that it is whole JSON at any time, also after a kill."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(json.dumps(finite(content), indent=2, default=float) + "\n")
    os.replace(beside, file)
