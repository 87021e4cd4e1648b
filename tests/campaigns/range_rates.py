"""Judge the range test on the 30 cases of `range_cases`: the spread of max_lr over seeds, and its use in 1cycle runs.

Each test and each run is stored as soon as it has ended, in tests/campaigns/range_rates.json; a campaign that was
stopped continues where it was. A rate is judged by its use: the test score (accuracy, or R² of a regression) of 1cycle
runs at the median max_lr is compared with that at each rate of a grid with steps of half an octave, with equal seeds.
"""

import argparse
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from start_training.callbacks.range_test import RangeTest
from start_training.cli.arguments import parse
from start_training.schedules.one_cycle import OneCycle
from start_training.schedules.rates.rate_suggestion import spread
from start_training.training.train import quiet_lightning
from tests.campaigns.range_cases import CASES, RangeCase
from tests.zoo.labels import write_rows

FILE = Path(__file__).with_suffix(".json")
SEEDS = 5  # of the range tests
RUNS = 3  # seeds of the runs
GRID = {"SGD": (-9.0, 1.0), "AdamW": (-13.0, -3.0)}  # first and last binary logarithm of the rates of the runs
Rows = dict[tuple[str, str, int, float], dict[str, Any]]  # of (case, kind, seed, rate); the rate of a test is 0


def suggested(case: RangeCase, seed: int) -> dict[str, Any]:
    """Make a range test with its default settings."""
    module, data = case.module(seed)
    test, began = RangeTest(stop=True), time.monotonic()
    _fit(module, data, callbacks=test)
    assert test.suggestion is not None
    return {"max_lr": test.suggestion.max_lr, "rule": test.suggestion.rule, "seconds": time.monotonic() - began}


def used(case: RangeCase, seed: int, rate: float) -> dict[str, Any]:
    """Train by 1cycle up to a rate, and return the score on the test set; 0 for a run that diverged, or below 0."""
    module, data = case.module(seed, rate, OneCycle)
    _fit(module, data, max_epochs=case.epochs, limit_val_batches=0)
    test = data.samples("test")
    module.eval()
    with torch.no_grad():
        outputs = module(test.inputs)
    score = module.task.score(module.task.sums(outputs, test.targets).tolist(), test.size)
    return {"score": max(score, 0.0) if math.isfinite(score) else 0.0}


def grid(case: RangeCase) -> list[float]:
    """Return the rates of the grid of a case, half an octave apart."""
    low, high = GRID["AdamW" if "AdamW" in case.name else "SGD"]
    return [float(f"{2.0**power:.3g}") for power in np.arange(low, high + 0.25, 0.5)]


def max_lr(case: RangeCase, rows: Rows) -> float:
    """Return the median of max_lr over the tests of a case, to three digits; NaN if no test was made."""
    known = [rate for rate in rates_of(case, rows) if math.isfinite(rate)]
    return float(f"{2 ** np.median(np.log2(known)):.3g}") if known else math.nan


def rates_of(case: RangeCase, rows: Rows) -> list[float]:
    """Return max_lr by each test of a case; NaN for a test that suggests none."""
    tests = [row for (name, kind, *_), row in rows.items() if (name, kind) == (case.name, "test")]
    return [math.nan if row["max_lr"] is None else row["max_lr"] for row in tests]


def mean_score(case: RangeCase, rate: float, rows: Rows) -> float:
    """Return the mean score of a case's runs at a rate over all seeds; NaN if a run is missing."""
    found = [rows.get((case.name, "use", seed, rate)) for seed in range(RUNS)]
    return float(np.mean([row["score"] for row in found if row])) if all(found) else math.nan


def summary(case: RangeCase, rows: Rows) -> dict[str, Any]:
    """Return how far max_lr differs over the seeds of a case, and how much better the best rate of the grid is.

    Returns:
        octaves: log2(largest / smallest) of max_lr; NaN if fewer than `SEEDS` tests suggest a rate; points: 100 times
        the best mean score of the grid minus that at max_lr; best_lr: the rate with the best score.
    """
    rates, at = rates_of(case, rows), max_lr(case, rows)
    complete = len(rates) == SEEDS and np.isfinite(rates).all()
    scores = {rate: mean_score(case, rate, rows) for rate in grid(case)}
    known = {rate: score for rate, score in scores.items() if math.isfinite(score)}
    best = max(known, key=known.__getitem__, default=math.nan)
    points = 100 * (known[best] - mean_score(case, at, rows)) if known else math.nan
    octaves = spread(rates)["octaves"] if complete else math.nan
    return {"case": case.name, "max_lr": at, "octaves": octaves, "best_lr": best, "points": points,
            "score": mean_score(case, at, rows)}  # fmt: skip


def table(cases: Sequence[RangeCase], rows: Rows) -> str:
    """Return a Markdown table of the cases, and how many reach each goal."""
    found = [summary(case, rows) for case in cases]
    lines = ["| case | max_lr | octaves | score | best rate | points below it |", "|---|---|---|---|---|---|"]
    lines += [
        "| {case} | {max_lr:.2g} | {octaves:.2f} | {score:.3f} | {best_lr:.2g} | {points:.1f} |".format(**row)
        for row in found
    ]
    narrow, close = (sum(row[key] < 1 for row in found) for key in ("octaves", "points"))
    return "\n".join([*lines, f"under one octave: {narrow}, within one point: {close}, of {len(found)}"])


def jobs(cases: Sequence[RangeCase], kinds: Sequence[str], rows: Rows) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Yield the keys of missing rows, with the functions that measure them."""
    for case in cases if "test" in kinds else []:
        for seed in range(SEEDS):
            yield (case.name, "test", seed, 0.0), lambda case=case, seed=seed: suggested(case, seed)
    for seed in range(RUNS if {"use", "grid"} & set(kinds) else 0):
        for case in cases:
            at = max_lr(case, rows)
            for rate in [*(grid(case) if "grid" in kinds else []), *([at] if "use" in kinds else [])]:
                if math.isfinite(rate):
                    yield (case.name, "use", seed, rate), lambda case=case, s=seed, r=rate: used(case, s, r)


def read_rows(file: Path) -> Rows:
    """Return the stored rows."""
    rows = json.loads(file.read_text()) if file.exists() else []
    return {(row["case"], row["kind"], row["seed"], row["rate"]): row for row in rows}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py range_rates", description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("test", "grid", "use"), action="append", help="what to measure (all)")
    parser.add_argument("--part", choices=("looked-at", "aside"), help="only one half of the cases")
    parser.add_argument("--minutes", type=float, default=60, help="minutes after which nothing begins (60)")
    parser.add_argument("--file", type=Path, default=FILE, help=f"where results are stored ({FILE.name})")
    options = parse(parser, arguments)
    cases = [case for case in CASES.values() if not options.part or case.looked_at == (options.part == "looked-at")]
    rows, end = read_rows(options.file), time.monotonic() + 60 * options.minutes
    torch.set_num_threads(1)
    with warnings.catch_warnings(), quiet_lightning():
        warnings.simplefilter("ignore")
        for key, measure in jobs(cases, options.kind or ["test", "grid", "use"], rows):
            if key not in rows and time.monotonic() < end:
                name, kind, seed, rate = key
                rows[key] = {"case": name, "kind": kind, "seed": seed, "rate": rate, **_plain(measure())}
                write_rows([row for _, row in sorted(rows.items())], options.file)
    print(table(cases, rows))
    return 0


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
    return {key: None if value != value else value for key, value in rounded.items()}


def _fit(module: pl.LightningModule, data: pl.LightningDataModule, **settings: Any) -> None:
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "max_epochs": 1, "accelerator": "cpu"}
    with tempfile.TemporaryDirectory() as directory:
        pl.Trainer(**{**quiet, "devices": 1, "default_root_dir": directory, **settings}).fit(module, datamodule=data)
