"""Common parts of all benchmarks: command-line options, terminal output, tables, and the JSON file of results."""

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

from start_training.cli.arguments import parse
from start_training.runs.documents import finite
from start_training.settings import one_of, positive_integer
from start_training.stop_signals import Interrupted

T = TypeVar("T")
Columns = Mapping[str, str | Callable[[Mapping[str, Any]], str]]
ROOT = Path(__file__).parents[1]


def environment(device: str, **more: Any) -> dict[str, Any]:
    """Return what results depend on besides the code; `load` is the system load average of the last minute."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **more,
        "load": round(os.getloadavg()[0], 1),
    }


def check_device(device: str, *, advice: str = "") -> str:
    """Return the device if it is `cpu`, or if it is `cuda` and torch finds a GPU.

    Raises:
        ValueError: the device is not available or unknown; the message ends with `advice`.
    """
    if one_of("device", device, ("cpu", "cuda")) == "cuda" and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        raise ValueError(f"device = cuda: torch {torch.__version__}, built with {built}, finds no GPU{advice}")
    return device


class Session:
    """One execution of a benchmark: its options, device, console, environment, and the results so far."""

    def __init__(self, options: argparse.Namespace, width: int) -> None:
        self.options = options
        self.device = check_device(getattr(options, "device", "cpu"))
        if options.threads is not None:
            torch.set_num_threads(positive_integer("threads", options.threads))
        self.console = Console(width=max(Console().width, width))
        self.environment = environment(self.device)
        self.results: dict[str, Any] = {}

    def measure(self, name: str, function: Callable[..., T], *arguments: Any, key: str = "", **more: Any) -> T:
        """Call a function that measures something, add its result to the JSON file, and return it.

        Args:
            name: Text that the terminal shows while the function runs.
            function: Function that returns plain data, or a list of several results.
            arguments: Positional arguments of the function.
            key: Key of the result in the JSON file; by default it is appended to the list `results`.
            more: Keyword arguments of the function.
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
        """Write the results so far to the JSON file of the option --out."""
        if self.options.out:
            write_json(self.options.out, {"environment": self.environment, **self.results})

    def print(self, *renderables: Any) -> None:
        """Print tables, and lines of text without wrapping them."""
        for renderable in renderables:
            self.console.print(renderable, soft_wrap=isinstance(renderable, str), highlight=False)


def benchmark(
    *, quick: str, on_gpu: bool = True, width: int = 80, **options: Mapping[str, Any]
) -> Callable[[Callable[[Session], None]], Callable[[Sequence[str]], None]]:
    """Decorate a function that measures in a `Session`, to make it the `main` of its module.

    The decorated function takes the command-line arguments. Results from before an error or Ctrl-C are in the JSON
    file, and the environment is printed at the end in any case.

    Args:
        quick: Help of the option --quick.
        on_gpu: Whether the benchmark has the option --device; without this option it runs on a CPU.
        width: Least width of tables in columns.
        options: Further options: keyword arguments of `add_argument` by the name of the option.
    """

    def decorate(measure: Callable[[Session], None]) -> Callable[[Sequence[str]], None]:
        device = {"device": {"default": "cpu", "help": "device to measure, cpu (default) or cuda"}} if on_gpu else {}
        standard: dict[str, Mapping[str, Any]] = {
            "quick": {"action": "store_true", "help": quick},
            "threads": {"type": int, "help": "number of threads of torch (default: its own choice)"},
            "out": {"type": Path, "help": "JSON file for the results"},
        }
        parser = option_parser(measure.__module__, {**standard, **device, **options})

        @wraps(measure)
        def main(arguments: Sequence[str]) -> None:
            session = Session(parse(parser, arguments), width)
            try:
                measure(session)
            except Interrupted as interruption:  # nothing to resume: the run was in a temporary directory
                sys.exit(interruption.exit_status)
            finally:
                session.print(", ".join(f"{key} {value}" for key, value in session.environment.items()))
                session.write()

        return main

    return decorate


def option_parser(module: str, options: Mapping[str, Mapping[str, Any]]) -> argparse.ArgumentParser:
    """Return the command-line parser of a benchmark, described by the docstring of its module.

    `options` holds the keyword arguments of `add_argument` by the name of each option.
    """
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
    """Return a table with one row per result.

    Args:
        title: Text above the table.
        columns: Columns by heading: a format of the entries of a result, such as `{ratio:.2f}`, or a function of the
            result that returns text.
        rows: The results.
        words: Number of first columns that contain text and are left-justified; the others contain numbers.
        caption: Text below the table.
    """
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE)
    for index, heading in enumerate(columns):
        table.add_column(heading, justify="left" if index < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell.format(**row) if isinstance(cell, str) else cell(row) for cell in columns.values()))
    return table


def met(is_met: bool) -> str:
    return "met" if is_met else "missed"


def goal_cell(form: str = "{goal}") -> Callable[[Mapping[str, Any]], str]:
    """Return a column for `results_table`: the `goal` of a row in this format and whether it is `met`, or nothing."""
    return lambda row: f"{form.format(**row)} {met(row['met'])}" if row["goal"] else ""


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file atomically, so that it is complete at any time, even after a kill."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(json.dumps(finite(content), indent=2, default=float) + "\n")
    os.replace(new, file)
