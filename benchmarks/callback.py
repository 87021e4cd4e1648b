"""Measure the cost of recording the length of every layer at every step, compared with other ways to record it.

Whole training steps of Lightning on one batch are timed (`Trainer.fit`, automatic optimization, SGD; no logger, no
checkpoints and no progress bar, so that the plain step is as short as possible). Each method is a callback that
watches a net at every step; where its name says so, the Trainer has a logger too. Callbacks of fastai and Composer,
if they are installed, are called by Lightning's Trainer at the events at which their own trainers call them. A twin of
the net, with the same weights, is trained without callback and logger, and both trainings take turns. On a GPU and for
compiled nets a turn has ten steps, since waiting for the device after each step would prevent the host from running
ahead.

Each round trains a new pair of nets for each method, since their places in memory change step times by about a
percent. The result of a round is the median ratio of its pairs of turns; the table shows the median and the range of
the rounds, and the 10% and 90% quantiles of all ratios of single turns. Of a method that makes steps many times as
long, fewer pairs are timed.

The times include all work of a step. Work that a method defers to every 100th step (for ActivationLengths, transfer,
writing to disk and logging) does not depend on the batch: it is timed in two hundred steps of a separate net, not
compiled, on two samples, and a hundredth of it is added to every step. The times do not include what happens once
(registering hooks, joining the parts of tables at the end) and the work of the process that W&B starts, which slows
both twins. The first method, a callback that does nothing, shows how far noise moves a ratio from 1.
"""

import math
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from benchmarks._harness import Columns, Session, benchmark, results_table
from benchmarks._measuring import Array, in_turns, spread
from benchmarks._nets import TimedNet, dense, gpt, resnet
from benchmarks._stepped_fit import SteppedFit, deferred_seconds
from benchmarks.callback_parts.methods import ITEM, METHODS, NOTHING, OURS, OURS_CSV, Method, Setting
from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.lengths.coverage import Coverage

ROUNDS, QUICK_ROUNDS = 6, 3
PERIOD = 100  # steps after which deferred work is done, the default of ActivationLengths
NEVER = 10**9
SLOW = 8  # number by which the pairs of a slow method are divided


def _ratio(value: float, digits: int = 3) -> str:
    return f"{value:.{digits if value < 10 else 0}f}"


COLUMNS: Columns = {
    "method": "{method}",
    "+ ms": lambda row: (
        f"{1e-3 * row['added_microseconds']:{'.2f' if abs(row['added_microseconds']) < 1e5 else '.0f'}}"
    ),
    "ratio": lambda row: _ratio(row["ratio"]),
    "rounds": lambda row: "–".join(map(_ratio, row["ratio_range"])),
    "10–90%": lambda row: "–".join(_ratio(value, 2) for value in row["ratio_quantiles"]),
    "goal": lambda row: f"≤ {row['goal']:.2f}" if row["goal"] else "",
}


@benchmark(
    quick="measure three nets with fewer rounds and pairs, in about a minute, or minutes with Composer",
    compile={"action": "store_true", "help": "compile the nets"},
    methods={
        "nargs": "+",
        "choices": METHODS,
        "metavar": "METHOD",
        "help": f"methods to measure: {', '.join(map(repr, METHODS))}".replace("%", "%%"),
    },
)
def main(session: Session) -> None:
    """Time the methods on nets suitable for the device, and print a table for each net."""
    options, device, compiled = session.options, session.device, session.options.compile
    chosen = list(options.methods or METHODS)
    missing = {name: METHODS[name].missing() for name in chosen if METHODS[name].missing()}
    installed = [name for name in chosen if name not in missing]
    session.environment |= {"compiled": compiled} | versions(installed)
    session.print(*(fill(f"{name}: {METHODS[name].computes}.", 80, subsequent_indent="  ") for name in chosen))
    session.results["not_measured"] = missing
    for name, package in missing.items():
        session.print(fill(f"Not measured: {name}, since {package} is not installed (docs/benchmarks.md).", 80))
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    settings = {"device": device, "compiled": compiled, "rounds": rounds, "period": PERIOD}
    for net in nets(device, quick=options.quick, compiled=compiled) if installed else ():
        methods = installed if options.methods else suitable_methods(net, installed, compiled=compiled)
        rows = session.measure(net.name, measure, net, methods, **settings)
        title = "{net}: {plain_milliseconds:.1f} ms a step, {layers} layers measured, {rounds} rounds of {pairs} pairs"
        session.print(results_table(title.format(**rows[0]), COLUMNS, rows))


def nets(device: str, *, quick: bool, compiled: bool) -> list[TimedNet]:
    """Return nets whose measurement takes minutes on the device, or seconds if `quick`."""
    if device == "cuda":
        goal = 1.05 if compiled else None
        on_gpu = [dense(10, 100, 20, goal), dense(50, 1000, 10, goal), resnet(256, 224, 5, 1.05), gpt(10, batch=64)]
        return on_gpu[:1] if quick else on_gpu
    if compiled:
        return [dense(10, 100, 10)]
    if quick:
        return [dense(10, 100, 15), dense(10, 500, 2, 1.03), gpt(2, batch=4)]
    slow = [dense(20, 500, 3, 1.03), dense(50, 1000, 1), resnet(32, 64, 4)]
    return [dense(10, 100, 40), dense(10, 500, 8, 1.03), gpt(8), *slow]


def suitable_methods(net: TimedNet, methods: Sequence[str], *, compiled: bool) -> list[str]:
    """Return those methods that suit a net: few for slow nets, and none that break the graph of compiled nets."""
    suitable = [NOTHING, OURS] if compiled else [OURS, OURS_CSV, ITEM] if net.pairs == 1 else methods
    return [name for name in methods if name in suitable]


def versions(methods: Sequence[str]) -> dict[str, str]:
    """Return the versions of the distributions of these methods."""
    peers = [METHODS[name].needs[0] for name in methods if METHODS[name].needs]
    return {name: version(name) for name in ("pytorch-lightning", "wandb", *peers)}


def measure(
    net: TimedNet,
    methods: Sequence[str],
    *,
    device: str = "cpu",
    compiled: bool = False,
    precision: str = "32-true",
    rounds: int = ROUNDS,
    period: int = PERIOD,
    seconds: float = math.inf,
) -> list[dict[str, Any]]:
    """Time methods on one net; each round times all of them.

    Args:
        net: The net, which is trained twice for each method: watched by the method and not watched.
        methods: Some of `METHODS`.
        device: `cpu` or `cuda`.
        compiled: Whether both nets are compiled.
        precision: `precision` of Lightning's Trainer.
        rounds: Largest number of rounds; each trains new twins.
        period: Number of steps after which a method does deferred work.
        seconds: Time limit; no round except the first begins that would probably end later.
    Returns:
        For each method: names of the net and the method, the number of layers that ActivationLengths measures, and the
        results of `summary`.
    """
    layers, modules = measured_names(net), dict(net.twins("cpu")[0][0].named_modules())
    hooked = [name for name in layers if name in modules]
    times: dict[str, list[Array]] = {name: [] for name in methods}
    start = time.monotonic()
    for count in range(1, rounds + 1):
        for name in methods:
            times[name].append(_round(net, METHODS[name], hooked, device, compiled, precision))
        if (time.monotonic() - start) * (count + 1) / count > seconds:
            break
    results = []
    for name in methods:
        deferred = _deferred(net, METHODS[name], device, period) if METHODS[name].defers else 0.0
        goal = net.goal if name.startswith(OURS) else None
        names = {"net": net.name, "method": name, "layers": len(layers), "goal": goal}
        results.append(names | summary(np.stack(times[name]), deferred))
    return results


def summary(times: Array, deferred: float) -> dict[str, Any]:
    """Return the cost of a method.

    Args:
        times: Seconds per step, shape (rounds, pairs, 2), without and with the method.
        deferred: Seconds per step of deferred work.
    Returns:
        `ratio`, the time of a step with the method divided by that without, its range over rounds `ratio_range`, and
        the 10% and 90% quantiles of all pairs `ratio_quantiles`; `added_microseconds`, the difference of these times,
        which includes `deferred_microseconds`.
    """
    plain, watched = times[..., 0], times[..., 1] + deferred
    ratio, *ratio_range = spread(watched / plain)
    return {
        "ratio": ratio,
        "ratio_range": ratio_range,
        "ratio_quantiles": np.quantile(watched / plain, [0.1, 0.9]).tolist(),
        "rounds": times.shape[0],
        "pairs": times.shape[1],
        "plain_milliseconds": 1e3 * float(np.median(plain)),
        "added_microseconds": 1e6 * spread(watched - plain).median,
        "deferred_microseconds": 1e6 * deferred,
    }


def measured_names(net: TimedNet) -> list[str]:
    """Return the names of the layers that ActivationLengths measures in a step, including the input."""
    (module, _), batch = net.twins("cpu")
    with tempfile.TemporaryDirectory() as directory:
        callback = ActivationLengths(directory)
        callback.coverage = Coverage({}, 0, (), 0)  # so that it is not printed
        fit = SteppedFit(net.classifier(module), tuple(tensor[:2] for tensor in batch), callback)
        fit.time_steps()
        fit.finish()
        return pd.read_parquet(callback.tables_directory / "lengths")["name"].drop_duplicates().tolist()


def _deferred(net: TimedNet, method: Method, device: str, period: int) -> float:
    """Return the seconds per step of the work that a method defers."""
    (module, _), batch = net.twins(device)

    def callback(directory: Path, period: int) -> pl.Callback:
        return method.callback(Setting(directory, period))

    return deferred_seconds(net.classifier(module), batch, callback, period, logger=method.logger)


def _round(net: TimedNet, method: Method, layers: Sequence[str], device: str, compiled: bool, precision: str) -> Array:
    """Return seconds per step of new twins, shape (pairs, 2), after two warm-up pairs (allocation, compilation)."""
    modules, batch = net.twins(device)
    pairs = max(net.pairs // SLOW, 1) if method.slow else net.pairs
    steps, warm_up = 10 if device == "cuda" or compiled else 1, min(pairs, 2)
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as logs:
        trainer = {"logger": method.logger(Path(logs))} if method.logger else {}
        callback = method.callback(Setting(Path(directory), NEVER, layers))
        fits = [
            SteppedFit(net.classifier(module, compiled=compiled), batch, callback, precision=precision, **settings)
            for module, callback, settings in zip(modules, (pl.Callback(), callback), ({}, trainer), strict=True)
        ]
        ways = [lambda _, fit=fit: fit.time_steps(steps) for fit in fits]
        times = in_turns(ways, warm_up + pairs)
        for fit in fits:
            fit.finish()
    return np.array(times[warm_up:])
