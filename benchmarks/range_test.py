"""Compare the learning rates that `RangeTest` and Lightning's `Tuner.lr_find` suggest, and the accuracies they give.

Both tests run with their default settings on the same nets, data and seeds (of initialization and order of batches).
The table shows the suggestions over seeds, their spread in octaves, log2(largest / smallest), and the seconds of a
test. Then the net of each seed is trained for a fixed short time at the rate suggested for it, once by 1cycle and once
at that constant rate, and its accuracy on the whole validation set is measured, even if the run diverged. The last
table shows 1cycle runs at multiples of the geometric mean of the rates that `RangeTest` suggests.
"""

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.tuner import Tuner
from torch.optim import SGD, AdamW

from benchmarks._harness import Columns, Session, benchmark, results_table
from benchmarks._mnist import mnist_directory
from benchmarks._nets import critical_net
from benchmarks._stepped_fit import silent_trainer
from start_training.callbacks.range_test import RangeTest
from start_training.datamodules.digits import Digits
from start_training.datamodules.mnist import Mnist
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.models.classifier import Classifier
from start_training.schedules.one_cycle import OneCycle
from start_training.schedules.rates.rate_suggestion import spread
from start_training.settings import positive_integer

OURS, LIGHTNING = "RangeTest", "Lightning's lr_find"
ONE_CYCLE, FIXED = "1cycle", "fixed rate"
SCHEDULES: dict[str, Any] = {ONE_CYCLE: OneCycle, FIXED: None}
MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)


def _percent(key: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a column for `results_table` that shows mean and range of the accuracies of a row."""

    def cell(row: Mapping[str, Any]) -> str:
        known = 100 * np.array([value for value in row[key] if math.isfinite(value)])
        return f"{known.mean():.1f} ({known.min():.1f}–{known.max():.1f})" if len(known) else "—"

    return cell


WAY_COLUMNS: Columns = {
    "test": "{way}",
    "median rate": "{median:.2g}",
    "range": "{smallest:.2g}–{largest:.2g}",
    "octaves": "{octaves:.2f}",
    "s/test": "{seconds:.2f}",
    **{name: _percent(name) for name in SCHEDULES},
}
MULTIPLE_COLUMNS = {f"× {multiple:g}": _percent(str(multiple)) for multiple in MULTIPLES}


@dataclass(frozen=True)
class NetAndData:
    """A fully connected ReLU net with `depth` layers of 100 units, its data, optimizer, and number of epochs."""

    name: str
    data: Callable[..., TensorDataModule]
    optimizer: Callable[..., torch.optim.Optimizer]
    epochs: int
    depth: int = 10

    def module(self, seed: int, rate: float, schedule: Any = None) -> tuple[Classifier, TensorDataModule]:
        """Return a He-initialized net, and its data in the order that the seed determines."""
        data = self.data(seed=seed)
        net = critical_net(int(np.prod(data.input_shape)), self.depth, 100, seed=seed)
        optimizer = partial(self.optimizer, lr=rate)
        return Classifier(net, optimizer, classes=data.classes, schedule=schedule, seed=seed), data


@benchmark(
    quick="measure one small net with two seeds, in less than a minute",
    on_gpu=False,
    width=110,
    seeds={"type": int, "default": 5},
)
def main(session: Session) -> None:
    options = session.options
    seeds = 2 if options.quick else positive_integer("seeds", options.seeds)
    for net in nets(quick=options.quick):
        result = session.measure(net.name, measure, net, seeds)
        title = "{case}: suggested rates, {seeds} seeds; accuracy (%) after {epochs} epochs".format(**result)
        session.print(results_table(title, WAY_COLUMNS, result["ways"]))
        mean = result["ways"][0]["geometric_mean"]
        title = f"accuracy (%) after 1cycle at multiples of {mean:.2g}, the geometric mean of {OURS}"
        session.print(results_table(title, MULTIPLE_COLUMNS, [result["one_cycle_at_multiples"]], words=0))


def nets(*, quick: bool = False) -> list[NetAndData]:
    """Return nets on digits with two optimizers, and one on MNIST if DATA_DIR has it."""
    sgd = partial(SGD, momentum=0.9)
    if quick:
        return [NetAndData("digits, 3 x 100, SGD", Digits, sgd, epochs=1, depth=3)]
    nets = [
        NetAndData("digits, 10 x 100, SGD", Digits, sgd, 10),
        NetAndData("digits, 10 x 100, AdamW", Digits, AdamW, 10),
    ]
    if directory := mnist_directory():
        mnist = partial(Mnist, data_dir=directory, batch_size=128)
        nets.append(NetAndData("MNIST, 10 x 100, SGD", mnist, sgd, 1))
    return nets


def measure(net: NetAndData, seeds: int) -> dict[str, Any]:
    """Return a row for each of both tests, and accuracies after 1cycle at multiples of the rate of `RangeTest`."""
    rows = [_row(net, way, test, seeds) for way, test in ((OURS, our_test), (LIGHTNING, lightnings_test))]
    rates = {multiple: multiple * rows[0]["geometric_mean"] for multiple in MULTIPLES}
    multiples = {
        str(multiple): [accuracy(net, seed, rate, ONE_CYCLE) for seed in range(seeds)]
        for multiple, rate in rates.items()
    }
    return {"case": net.name, "epochs": net.epochs, "seeds": seeds, "ways": rows, "one_cycle_at_multiples": multiples}


def our_test(net: NetAndData, seed: int) -> float:
    module, data = net.module(seed, rate=0.1)  # the test does not use the rate
    test = RangeTest(stop=True)
    with tempfile.TemporaryDirectory() as directory:
        _trainer(directory, callbacks=test).fit(module, datamodule=data)
    assert test.suggestion is not None
    return test.suggestion.max_lr


def lightnings_test(net: NetAndData, seed: int) -> float:
    """Return the learning rate that Lightning's `lr_find` suggests; NaN without a suggestion."""
    module, data = net.module(seed, rate=0.1)
    with tempfile.TemporaryDirectory() as directory, redirect_stderr(StringIO()):  # hides its progress bar
        finder = Tuner(_trainer(directory, max_epochs=-1)).lr_find(module, datamodule=data, update_attr=False)
    suggested = finder.suggestion() if finder else None
    return math.nan if suggested is None else float(suggested)


def accuracy(net: NetAndData, seed: int, rate: float, schedule: str) -> float:
    """Return the validation accuracy after training at a learning rate; NaN if the rate is NaN."""
    if not math.isfinite(rate):
        return math.nan
    module, data = net.module(seed, rate, SCHEDULES[schedule])
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Encountered `nan` values")  # torchmetrics warns of NaN losses
        trainer = _trainer(directory, max_epochs=net.epochs, check_val_every_n_epoch=net.epochs)
        trainer.fit(module, datamodule=data)
    return float(trainer.callback_metrics["val/accuracy"])


def _trainer(directory: str, **settings: Any) -> pl.Trainer:
    return silent_trainer("cpu", num_sanity_val_steps=0, default_root_dir=directory, **settings)


def _row(net: NetAndData, way: str, test: Callable[[NetAndData, int], float], seeds: int) -> dict[str, Any]:
    rates, seconds = [], []
    for seed in range(seeds):
        start = time.perf_counter()
        rates.append(test(net, seed))
        seconds.append(time.perf_counter() - start)
    return {
        "way": way,
        "rates": rates,
        **spread(rates),
        "seconds": float(np.median(seconds)),
        **{name: [accuracy(net, seed, rate, name) for seed, rate in enumerate(rates)] for name in SCHEDULES},
    }
