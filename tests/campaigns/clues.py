"""Train the runs that clues are held to (tests/schedules/clue_cases.py), store their curves, and judge them.

A run's curves are stored as soon as it has ended, in tests/schedules/clue_runs.json.gz; a campaign that was stopped
goes on where it was.
"""

import argparse
import contextlib
import io
import json
import re
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from start_training.cli.arguments import parse
from start_training.config.build import build
from start_training.config.composed import plain
from start_training.config.data_sizes import chance_of
from start_training.reports.run_clues import COLUMNS, chance_from_r2, epochs_of
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.schedules.regularizers import Regularizers
from start_training.training.train import train
from tests.schedules.clue_cases import SIZES, Case, cases
from tests.schedules.clue_runs import FILE, judged, read_runs, table, write_runs
from tests.small_runs import CONF

DATA = {"digits": "PartOfDigits", "fashion_mnist": "PartOfFashion", "friedman": "PartOfFriedman"}
DIGITS = 4  # significant digits that are stored


def config_of(case: Case) -> dict[str, Any]:
    """Compose the config of a run, with a part of the data."""
    settings = [word for word in case.overrides if not word.startswith(("datamodule.samples", "datamodule.wrong"))]
    fixed = ["callbacks=none", "logger=csv", "trainer.enable_progress_bar=false", "datamodule.validation=0.15"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = plain(compose("train", [*fixed, *settings]))
    data = config["datamodule"]
    part = DATA[data["_target_"].split(".")[-2]]
    data["_target_"] = f"tests.schedules.clue_data.{part}"
    data["samples"] = SIZES.get(case.task, 1437)
    for word in case.overrides:
        if word.startswith(("datamodule.samples=", "datamodule.wrong=")):
            name, value = word.removeprefix("datamodule.").split("=")
            data[name] = json.loads(value)
    data.pop("noise", None)
    return {**config, "callbacks": None}


def trained_row(case: Case) -> dict[str, Any]:
    """Train a run and return its settings and curves, as they are stored."""
    config, began = config_of(case), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        summary = train(Job(config, Path(folder)))
        merit = "accuracy" if case.task != "friedman" else "r2"
        epochs = epochs_of(RunDirectory(Path(folder)), f"val/{merit}")
    diverged = summary["status"] == "diverged"
    test = summary["metrics"].get("test/loss")
    columns = dict(zip(("train", "val", "rate"), COLUMNS, strict=True))
    return {
        "name": case.name,
        "way": case.way,
        "task": case.task,
        "overrides": " ".join(case.overrides),
        "settings": asdict(Regularizers.of(config)),
        "chance": chance_of(config, build(config["datamodule"], "datamodule"))
        or chance_from_r2(config, epochs, "val/loss", f"val/{merit}"),
        "diverged_at": int(re.findall(r"step (\d+) is not finite", summary["reason"])[0]) if diverged else None,
        "test_loss": None if diverged or test is None else _rounded([test])[0],
        "seconds": round(time.monotonic() - began, 1),
        "step": [int(step) for step in epochs["step"]],
        **{name: _rounded(epochs[column]) for name, column in columns.items()},
        "accuracy": _rounded(epochs["val/accuracy"]) if merit == "accuracy" else None,
    }


def _rounded(values: Any) -> list[float | None]:
    """Values of a column with few digits; None for NaN."""
    return [None if value != value else float(f"{value:.{DIGITS}g}") for value in map(float, values)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py clues", description=__doc__.splitlines()[0])
    parser.add_argument("--again", action="store_true", help="also train runs that are stored")
    parser.add_argument("--aside", action="store_true", help="also name wrong clues on runs that are set aside")
    parser.add_argument("--minutes", type=float, default=60, help="minutes after which no training begins (60)")
    parser.add_argument("--file", type=Path, default=FILE, help=f"where runs are stored (tests/schedules/{FILE.name})")
    options = parse(parser, arguments)
    runs, made = read_runs(options.file), cases()
    known = {case.name: " ".join(case.overrides) for case in made}
    runs = {name: row for name, row in runs.items() if known.get(name) == row["overrides"]}
    missing = [case for case in made if options.again or case.name not in runs]
    torch.set_num_threads(1)  # nets this small train fastest on one
    end = time.monotonic() + 60 * options.minutes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in missing:
            if time.monotonic() >= end:
                break
            runs[case.name] = trained_row(case)
            write_runs([runs[one.name] for one in made if one.name in runs], options.file)
            print(f"{case.name:44}{runs[case.name]['seconds']:6.1f} s", flush=True)
    left = [case.name for case in made if case.name not in runs]
    for one in [*judged(runs, aside=False), *(judged(runs, aside=True) if options.aside else [])]:
        if not one.right:
            print(f"{one.case.name}: {one.clues.text} {one.advice}")
    print(f"\n{table(runs)}\n\n{len(runs)} runs of {len(made)}, {len(left)} missing")
    return int(bool(left))
