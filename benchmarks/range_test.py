"""How well a learning rate range test tells the rate to train with: this project's, and Lightning's.

On the same nets, data and seeds (initialization and order of batches), each with its defaults: `RangeTest`, and
`Tuner.lr_find().suggestion()`. Reported are the suggestions over seeds, their spread in octaves, log2(largest /
smallest), and what a test takes. Then each seed's net is trained for a fixed short time at the rate suggested to it,
by 1cycle and at that fixed rate, and its accuracy on the whole validation set taken: a run that diverged counts as it
ended. The last table is of 1cycle runs at multiples of the geometric mean of our suggestions: what they could have had.
"""

import argparse
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.tuner import Tuner
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch.optim import SGD, AdamW

from benchmarks._job_gaps import mnist_directory
from benchmarks._machine import chosen_device, environment
from benchmarks._options import parser
from start_training.callbacks.range_test import RangeTest
from start_training.datamodules.digits import Digits
from start_training.datamodules.mnist import Mnist
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.initializers.initialize import initialize_
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.classifier import Classifier
from start_training.models.fully_connected import FullyConnected
from start_training.schedules.one_cycle import OneCycle
from start_training.schedules.rate_suggestion import spread
from start_training.settings import positive_integer

OURS, LIGHTNING = "RangeTest", "Lightning's lr_find"
ONE_CYCLE, FIXED = "1cycle", "fixed rate"
SCHEDULES: dict[str, Any] = {ONE_CYCLE: OneCycle, FIXED: None}
MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
TABLE_WIDTH = 110  # where no terminal says how wide it is, rich takes 80


@dataclass(frozen=True)
class Case:
    """A fully connected ReLU net of `depth` layers of 100, its data, its optimizer, and how long to train it."""

    name: str
    data: Callable[..., TensorDataModule]
    optimizer: Callable[..., torch.optim.Optimizer]
    epochs: int
    depth: int = 10

    def module(self, seed: int, rate: float, schedule: Any = None) -> tuple[Classifier, TensorDataModule]:
        """A net critical at initialization, and its data in an order of their own."""
        data = self.data(seed=seed)
        net = FullyConnected(int(np.prod(data.input_shape)), data.classes, depth=self.depth, width=100)
        initialize_(net, VarianceScaling(2.0), generator=torch.Generator().manual_seed(seed))
        optimizer = partial(self.optimizer, lr=rate)
        return Classifier(net, optimizer, classes=data.classes, schedule=schedule, seed=seed), data


def main(arguments: Sequence[str]) -> None:
    """Test and train every case, print a table of each, and write the numbers to a JSON file if asked to."""
    options = _parser().parse_args(arguments)
    surroundings = environment(chosen_device(options))
    seeds = 2 if options.quick else positive_integer("seeds", options.seeds)
    console, results = Console(width=max(Console().width, TABLE_WIDTH)), []
    for case in cases(quick=options.quick):
        with console.status(case.name):
            results.append(measure(case, seeds))
        console.print(ways_table(results[-1]))
        console.print(multiples_table(results[-1]))
    console.print(", ".join(f"{key} {value}" for key, value in surroundings.items()))
    if options.out:
        options.out.write_text(json.dumps({"environment": surroundings, "results": results}, indent=2) + "\n")


def cases(*, quick: bool = False) -> list[Case]:
    """Digits with two optimizers, and MNIST where DATA_DIR has it."""
    sgd = partial(SGD, momentum=0.9)
    if quick:
        return [Case("digits, 3 x 100, SGD", Digits, sgd, epochs=1, depth=3)]
    found = [Case("digits, 10 x 100, SGD", Digits, sgd, 10), Case("digits, 10 x 100, AdamW", Digits, AdamW, 10)]
    if directory := mnist_directory():
        mnist = partial(Mnist, data_dir=directory, batch_size=128)
        found.append(Case("MNIST, 10 x 100, SGD", mnist, sgd, 1))
    return found


def measure(case: Case, seeds: int) -> dict[str, Any]:
    """A row for each way to test, and the 1cycle runs at multiples of what ours suggests."""
    rows = [_row(case, way, test, seeds) for way, test in ((OURS, our_test), (LIGHTNING, lightnings_test))]
    rate = rows[0]["geometric_mean"]
    multiples = {
        str(multiple): [accuracy(case, seed, multiple * rate, ONE_CYCLE) for seed in range(seeds)]
        for multiple in MULTIPLES
    }
    return {"case": case.name, "epochs": case.epochs, "seeds": seeds, "ways": rows, "one_cycle_at_multiples": multiples}


def our_test(case: Case, seed: int) -> float:
    """The rate that `RangeTest` suggests."""
    module, data = case.module(seed, rate=0.1)  # which the test does not look at
    test = RangeTest(stop=True)
    with tempfile.TemporaryDirectory() as directory:
        _trainer(directory, max_epochs=1, callbacks=test).fit(module, datamodule=data)
    assert test.suggestion is not None
    return test.suggestion.max_lr


def lightnings_test(case: Case, seed: int) -> float:
    """The rate that Lightning suggests; NaN where it has no suggestion."""
    module, data = case.module(seed, rate=0.1)
    with tempfile.TemporaryDirectory() as directory:
        trainer = _trainer(directory, max_epochs=-1)
        with redirect_stderr(StringIO()):  # its progress bar
            finder = Tuner(trainer).lr_find(module, datamodule=data, update_attr=False)
    suggested = finder.suggestion() if finder else None
    return math.nan if suggested is None else float(suggested)


def accuracy(case: Case, seed: int, rate: float, schedule: str) -> float:
    """Validation accuracy after training at a rate."""
    if not math.isfinite(rate):
        return math.nan
    module, data = case.module(seed, rate, SCHEDULES[schedule])
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Encountered `nan` values")  # torchmetrics, of a loss that is none
        trainer = _trainer(directory, max_epochs=case.epochs, check_val_every_n_epoch=case.epochs)
        trainer.fit(module, datamodule=data)
    return float(trainer.callback_metrics["val/accuracy"])


def ways_table(result: dict[str, Any]) -> Table:
    """One row per way to test."""
    title = (
        f"{result['case']}: suggestions for {result['seeds']} seeds; accuracy (%) after {result['epochs']} epochs of"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("test", no_wrap=True)
    for heading in ("median rate", "range", "octaves", "s/test", *SCHEDULES):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result["ways"]:
        rates = [f"{row['median']:.2g}", f"{row['smallest']:.2g}–{row['largest']:.2g}", f"{row['octaves']:.2f}"]
        table.add_row(row["way"], *rates, f"{row['seconds']:.2f}", *(_accuracies(row[name]) for name in SCHEDULES))
    return table


def multiples_table(result: dict[str, Any]) -> Table:
    """Accuracy of 1cycle runs against the multiple of the suggested rate."""
    title = (
        f"accuracy (%) after 1cycle at multiples of {OURS}'s geometric mean, {result['ways'][0]['geometric_mean']:.2g}"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for multiple in result["one_cycle_at_multiples"]:
        table.add_column(f"× {float(multiple):g}", justify="right", no_wrap=True)
    table.add_row(*(_accuracies(values) for values in result["one_cycle_at_multiples"].values()))
    return table


def _row(case: Case, way: str, test: Callable[[Case, int], float], seeds: int) -> dict[str, Any]:
    rates, seconds = [], []
    for seed in range(seeds):
        start = time.perf_counter()
        rates.append(test(case, seed))
        seconds.append(time.perf_counter() - start)
    return {
        "way": way,
        "rates": rates,
        **spread(rates),
        "seconds": float(np.median(seconds)),
        **{name: [accuracy(case, seed, rate, name) for seed, rate in enumerate(rates)] for name in SCHEDULES},
    }


def _trainer(directory: str, **settings: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=directory,
        **settings,
    )


def _accuracies(values: Sequence[float]) -> str:
    known = np.array([value for value in values if math.isfinite(value)])
    return f"{100 * known.mean():.1f} ({100 * known.min():.1f}–{100 * known.max():.1f})" if len(known) else "—"


def _parser() -> argparse.ArgumentParser:
    options = parser("range_test", __doc__, quick="one small net and two seeds, under a minute", device=False)
    options.add_argument("--seeds", type=int, default=5)
    return options
